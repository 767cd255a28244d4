package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What a configuration hands to the native library. */
class ServerConfigTest {
    /** The folder where relative paths start, the third text of the operation; empty is the working folder. */
    private static String folder(Path file) throws IOException {
        ByteBuffer operation = ByteBuffer.wrap(ServerConfig.load(file).operations());
        operation.get();
        String last = "";
        for (int text = 0; text < 3; text++) {
            byte[] bytes = new byte[operation.getInt()];
            operation.get(bytes);
            last = new String(bytes, StandardCharsets.UTF_8);
        }
        return last;
    }

    @Test
    void relativePathsStartAtTheFolderOfAFileAndAtTheWorkingFolderOfADevice(@TempDir Path folder) throws IOException {
        Path file = Files.writeString(folder.resolve("server.ini"), "[Port]\nport = 0\n");
        assertEquals(folder.toString(), folder(file));
        assertEquals("", folder(Path.of("/dev/null")));
    }
}
