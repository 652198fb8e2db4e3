package options

// Suggestions for mistyped names: the nearest candidate by edit distance, or the one whose initials were typed
// (`lr` for learning_rate), since abbreviations from other trainers are the commonest wrong keys.

import (
	"fmt"
	"strings"
)

// Suggest returns the candidate a user most likely meant by name, or "" when none is near.
// Dashes, underscores and case do not count.
func Suggest(name string, candidates []string) string {
	want := plain(name)
	best, bestDistance := "", len(want)/3+1
	for _, c := range candidates {
		have := plain(c)
		if have == want {
			return c
		}
		if d := editDistance(want, have); d <= bestDistance && (d < bestDistance || best == "") && d < len(want) {
			best, bestDistance = c, d
		}
	}
	if best != "" {
		return best
	}
	for _, c := range candidates {
		if len(want) > 1 && (initials(c) == want || strings.HasPrefix(plain(c), want)) {
			return c
		}
	}
	return ""
}

// DidYouMean returns "; did you mean `x`?" ready to append to a message, or "" when no candidate is near.
func DidYouMean(name string, candidates []string) string {
	if s := Suggest(name, candidates); s != "" {
		return fmt.Sprintf("; did you mean `%s`?", s)
	}
	return ""
}

func plain(name string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(name))
}

func initials(name string) string {
	var out strings.Builder
	for _, word := range strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '_' || r == '-' }) {
		out.WriteByte(word[0])
	}
	return out.String()
}

// editDistance counts insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
func editDistance(a, b string) int {
	var older []int
	prev, cur := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], older[j-2]+1)
			}
		}
		older, prev, cur = prev, cur, make([]int, len(b)+1)
	}
	return prev[len(b)]
}
