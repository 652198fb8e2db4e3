// Diversity of samples: what a policy loses when it games its reward.

package eval

import (
	"encoding/binary"
	"math"
	"strings"
)

// DistinctN is the share of different n-grams among all n-grams of a set of token sequences (Li et al.
// 2016, arXiv 1510.03055); 1 is all different, NaN when no sequence has n tokens.
func DistinctN(seqs [][]int, n int) float64 {
	seen, total := map[string]struct{}{}, 0
	for _, seq := range seqs {
		total += addGrams(seen, seq, n)
	}
	if total == 0 {
		return math.NaN()
	}
	return float64(len(seen)) / float64(total)
}

// Repetition is the mean over sequences of the share of n-grams that occurred before in the same sequence
// (Welleck et al. 2019, arXiv 1908.04319, seq-rep-n). Sequences shorter than n are left out; NaN when
// all are.
func Repetition(seqs [][]int, n int) float64 {
	sum, count := 0.0, 0
	for _, seq := range seqs {
		seen := map[string]struct{}{}
		total := addGrams(seen, seq, n)
		if total == 0 {
			continue
		}
		sum += 1 - float64(len(seen))/float64(total)
		count++
	}
	if count == 0 {
		return math.NaN()
	}
	return sum / float64(count)
}

// addGrams puts the n-grams of seq into seen and returns how many there were.
func addGrams(seen map[string]struct{}, seq []int, n int) int {
	if n < 1 || len(seq) < n {
		return 0
	}
	wide := make([]byte, 0, 8*len(seq))
	for _, id := range seq {
		wide = binary.LittleEndian.AppendUint64(wide, uint64(id))
	}
	grams := len(seq) - n + 1
	for i := range grams {
		seen[string(wide[8*i:8*(i+n)])] = struct{}{}
	}
	return grams
}

// Words numbers the words of texts, split at white space, so that texts without token ids can be measured.
func Words(texts []string) [][]int {
	ids := map[string]int{}
	out := make([][]int, len(texts))
	for i, text := range texts {
		for _, word := range strings.Fields(text) {
			id, ok := ids[word]
			if !ok {
				id = len(ids)
				ids[word] = id
			}
			out[i] = append(out[i], id)
		}
	}
	return out
}
