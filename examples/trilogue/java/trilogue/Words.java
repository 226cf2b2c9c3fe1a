package trilogue;

import java.util.Comparator;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** How often each word of a text occurs. */
public record Words(Map<String, Integer> counts) {
    /** A word is a run of ASCII letters, in lower case. */
    public static Words of(String text) {
        var counts = new TreeMap<String, Integer>();
        var word = new StringBuilder();
        // One character more than there is ends the last word.
        for (char c : (text + ' ').toCharArray()) {
            if (c >= 'a' && c <= 'z') {
                word.append(c);
            } else if (c >= 'A' && c <= 'Z') {
                word.append((char) (c - 'A' + 'a'));
            } else if (!word.isEmpty()) {
                counts.merge(word.toString(), 1, Integer::sum);
                word.setLength(0);
            }
        }
        return new Words(counts);
    }

    /** One line for each word: how often, then the word; the most frequent first, then in the order of the alphabet. */
    public String table() {
        Comparator<Map.Entry<String, Integer>> frequent = Map.Entry.comparingByValue(Comparator.reverseOrder());
        return counts.entrySet().stream()
                .sorted(frequent)
                .map(row -> row.getValue() + " " + row.getKey() + "\n")
                .collect(Collectors.joining());
    }
}
