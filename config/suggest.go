package config

import (
	"slices"
	"strconv"
	"strings"
)

// Suggest returns ` (did you mean "x"?)` for the valid word that is nearest to
// the one given, or nothing if none is near.
func Suggest(word string, valid []string) string {
	if best := nearest(word, valid); best != "" {
		return " (did you mean " + strconv.Quote(best) + "?)"
	}
	return ""
}

// nearest returns the valid word that is probably meant, or "". Case and the
// choice between dash and underscore do not count.
func nearest(word string, valid []string) string {
	const far = 1 << 20
	plain, best, least := plainly(word), "", far
	for _, v := range slices.Sorted(slices.Values(valid)) {
		candidate := plainly(v)
		d := distance(plain, candidate)
		if d > max(1, len(plain)/3) && !extends(plain, candidate) {
			continue
		}
		if d < least {
			best, least = v, d
		}
	}
	return best
}

func plainly(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }

// extends reports whether one word is the other with more at its end, as
// api_id and api are.
func extends(a, b string) bool {
	return min(len(a), len(b)) >= 3 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a))
}

// longest bounds the words that are compared: no key of ours is that long.
const longest = 64

// distance is the number of letters to insert, delete, replace or swap with
// their neighbor to make b of a (optimal string alignment).
func distance(a, b string) int {
	if len(a) > longest || len(b) > longest {
		return longest
	}
	before, above := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+differ(a[i-1], b[j-1]))
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}

func differ(a, b byte) int {
	if a == b {
		return 0
	}
	return 1
}
