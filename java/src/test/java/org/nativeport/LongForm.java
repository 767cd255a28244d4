package org.nativeport;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * Tests that do something many times do it a few times, so that the suite stays short, and as often as
 * is promised with {@code -Dnativeport.long=true}, as {@code scripts/java long} runs them.
 */
public final class LongForm {
    private static final boolean IS_ON = Boolean.getBoolean("nativeport.long");

    private LongForm() {}

    /** How many there are of something. */
    public static int count(int shortForm, int longForm) {
        return IS_ON ? longForm : shortForm;
    }

    /** Something that was measured, for whoever runs the long form: {@code scripts/java} shows it. */
    public static void figure(String text) {
        if (IS_ON) {
            try {
                Files.writeString(
                        Path.of("target", "figures.txt"),
                        text + System.lineSeparator(),
                        StandardOpenOption.CREATE,
                        StandardOpenOption.APPEND);
            } catch (IOException failure) {
                throw new UncheckedIOException(failure);
            }
        }
    }
}
