// "did you mean …": the nearest of the words that would have been right. The same question always has the same answer.

/// The candidate with the fewest typing errors between it and `text`, the first of equals; `nil` if none is near: more than
/// one error in three characters, or more than three.
/// - Complexity: O(*c*·*n*²) for *c* candidates of *n* characters. A text of more than 100 octets has no suggestion.
func nearest(to text: String, among candidates: [String]) -> String? {
    guard text.utf8.count <= 100 else { return nil }
    var best: (candidate: String, distance: Int)?
    for candidate in candidates {
        let distance = editDistance(text, candidate)
        let allowed = min(3, max(1, candidate.utf8.count / 3))
        if distance <= allowed && distance < best?.distance ?? .max {
            best = (candidate, distance)
        }
    }
    return best?.candidate
}

/// How many characters to insert, remove, replace or swap with their neighbour make `a` into `b` (optimal string alignment).
/// Letters that differ only in case are equal.
func editDistance(_ a: String, _ b: String) -> Int {
    let a = Array(a.lowercased().unicodeScalars)
    let b = Array(b.lowercased().unicodeScalars)
    var beforeLast: [Int] = []
    var last = Array(0...b.count)
    for i in a.indices {
        var row = [i + 1]
        row.reserveCapacity(b.count + 1)
        for j in b.indices {
            var distance = min(last[j + 1] + 1, row[j] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                distance = min(distance, beforeLast[j - 1] + 1)
            }
            row.append(distance)
        }
        beforeLast = last
        last = row
    }
    return last[b.count]
}

/// The hint for a word that is near one of the right ones.
func didYouMean(_ word: String) -> String { "did you mean \(word)?" }
