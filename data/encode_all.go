// Encoding whole data sets, with an account of every row that was dropped or shortened.
package data

import (
	"errors"
	"fmt"

	"salsa/internal/fault"
)

// Counts says what became of the rows of a data set.
type Counts struct {
	Rows      int // read
	Kept      int
	Truncated int // kept, but shortened
	CutTokens int // removed by truncation, in all
	Overlong  int // dropped as too long
	Empty     int // dropped for an empty completion
}

// String is the line of the run header, "996 of 1,000 rows kept: …".
func (c Counts) String() string {
	return fmt.Sprintf("%d of %d rows kept (%d truncated by %d tokens in all; dropped: %d overlong, %d empty)",
		c.Kept, c.Rows, c.Truncated, c.CutTokens, c.Overlong, c.Empty)
}

// EncodeAll encodes rows with one of the encoder's methods, dropping and counting the rows that a policy
// skips. Any other error ends it. Encoding nothing at all is an error too.
func EncodeAll[T Example | Pair | Prompt | Ranking](rows []Row, encode func(*Row) (T, error)) ([]T, Counts, error) {
	counts := Counts{Rows: len(rows)}
	out := make([]T, 0, len(rows))
	for i := range rows {
		item, err := encode(&rows[i])
		var skip *Skip
		switch {
		case errors.As(err, &skip) && skip.Reason == SkipOverlong:
			counts.Overlong++
			continue
		case errors.As(err, &skip):
			counts.Empty++
			continue
		case err != nil:
			return nil, counts, err
		}
		if cut := cutOf(item); cut > 0 {
			counts.Truncated++
			counts.CutTokens += cut
		}
		out = append(out, item)
	}
	counts.Kept = len(out)
	if len(out) == 0 {
		return nil, counts, fault.Inputf("no row is left to use: %s; raise --max-length or give other data", counts)
	}
	return out, counts, nil
}

// cutOf returns how many tokens truncation took from an encoded row.
func cutOf(item any) int {
	switch x := item.(type) {
	case Example:
		return x.Cut
	case Pair:
		return x.Chosen.Cut + x.Rejected.Cut
	case Prompt:
		return x.Cut
	case Ranking:
		cut := 0
		for _, example := range x {
			cut += example.Cut
		}
		return cut
	}
	return 0
}
