package trilogue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

final class Tally {
    public static void main(String[] arguments) throws IOException {
        if (arguments.length != 1) {
            System.err.println("tally FILE");
            System.exit(2);
        }
        System.out.print(Words.of(Files.readString(Path.of(arguments[0]), StandardCharsets.US_ASCII)).table());
    }
}
