package org.nativeport;

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

    /** Something that was measured, for whoever runs the long form. */
    public static void figure(String text) {
        if (IS_ON) {
            System.out.println("figure: JDK " + Runtime.version().feature() + ", " + text);
        }
    }
}
