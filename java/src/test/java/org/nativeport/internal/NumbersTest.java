package org.nativeport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.reflect.Field;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** The numbers that stand in Java too are those of the core, as {@code include/nativeport.h} tells them. */
class NumbersTest {
    private static final Pattern DEFINED = Pattern.compile("(?m)^#define NP_(ERR|CLOSE)_(\\w+) \\(?(-?\\d+)\\)?$");

    /** What the header defines behind NP_ERR_ or NP_CLOSE_. */
    private static Map<String, Integer> defined(String kind) throws IOException {
        Map<String, Integer> numbers = new TreeMap<>();
        String header = Files.readString(Path.of("..", "include", "nativeport.h"));
        for (Matcher each = DEFINED.matcher(header); each.find(); ) {
            if (each.group(1).equals(kind)) {
                numbers.put(each.group(2), Integer.valueOf(each.group(3)));
            }
        }
        return numbers;
    }

    /** Java has those that it does something about. */
    @Test
    void everyStatusThatJavaKnowsHasTheNumberOfTheHeader() throws Exception {
        Map<String, Integer> defined = defined("ERR");
        int known = 0;
        for (Field field : Status.class.getDeclaredFields()) {
            if (field.getType() == int.class && !field.getName().equals("OK")) {
                assertEquals(defined.get(field.getName()), field.get(null), field.getName());
                known++;
            }
        }
        assertTrue(known > 0 && known <= defined.size());
        assertEquals(0, Status.OK);
    }

    @Test
    void everyCloseReasonOfTheHeaderIsKnownUnderItsNameAndNoOther() throws Exception {
        Map<String, Integer> known = new TreeMap<>();
        for (CloseReason reason : CloseReason.values()) {
            known.put(reason.name(), reason.number);
        }
        assertEquals(defined("CLOSE"), known);
    }
}
