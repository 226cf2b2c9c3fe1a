package trilogue;

final class WordsTest {
    public static void main(String[] arguments) {
        var table = Words.of("One two, TWO; three two-one").table();
        if (!table.equals("3 two\n2 one\n1 three\n") || !Words.of(" .\n").table().isEmpty()) {
            throw new AssertionError(table);
        }
    }
}
