// Encoding whole data sets, with an account of every row that was dropped or shortened.
package data

import (
	"errors"
	"fmt"
	"slices"

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

// EncodeAll encodes rows with one of the encoder's methods, on all processors, dropping and counting the rows that a
// policy skips. Any other error ends it: that of the first bad row. Encoding nothing at all is an error too.
func EncodeAll[T Example | Pair | Prompt | Ranking](rows []Row, encode func(*Row) (T, error)) ([]T, Counts, error) {
	all := encodedBlock[T]{items: make([]T, 0, len(rows))}
	inOrder(slices.Chunk(rows, blockRows), func(block []Row) encodedBlock[T] {
		return encodeBlock(block, encode)
	}, func(b encodedBlock[T]) bool {
		all.items, all.err = append(all.items, b.items...), b.err
		all.counts.add(b.counts)
		return b.err == nil
	})
	all.counts.Rows = len(rows)
	if all.err != nil {
		return nil, all.counts, all.err
	}
	if all.counts.Kept = len(all.items); all.counts.Kept == 0 {
		return nil, all.counts, fault.Inputf("no row is left to use: %s; raise --max-length or give other data", all.counts)
	}
	return all.items, all.counts, nil
}

// encodedBlock is what became of some rows, up to the first that ended it.
type encodedBlock[T any] struct {
	items  []T
	counts Counts
	err    error
}

func encodeBlock[T any](rows []Row, encode func(*Row) (T, error)) (b encodedBlock[T]) {
	for i := range rows {
		item, err := encode(&rows[i])
		var skip *Skip
		switch {
		case errors.As(err, &skip) && skip.Reason == SkipOverlong:
			b.counts.Overlong++
			continue
		case errors.As(err, &skip):
			b.counts.Empty++
			continue
		case err != nil:
			b.err = err
			return b
		}
		if cut := cutOf(item); cut > 0 {
			b.counts.Truncated++
			b.counts.CutTokens += cut
		}
		b.items = append(b.items, item)
	}
	return b
}

// add adds what became of more rows.
func (c *Counts) add(more Counts) {
	c.Truncated += more.Truncated
	c.CutTokens += more.CutTokens
	c.Overlong += more.Overlong
	c.Empty += more.Empty
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
