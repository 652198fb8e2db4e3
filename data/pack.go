// Packing: several short examples in one row, so that little of a batch is padding. Documents stay apart by
// their lengths, from which models.Pack makes position and document ids; attention must not cross them.
package data

import (
	"fmt"
	"slices"

	"salsa/internal/fault"
)

// Packing is a strategy for filling rows of fixed length.
type Packing string

// The strategies. Best-fit-decreasing takes the longest example first and puts it where the least room stays.
const (
	PackNone     Packing = "none"
	PackBFD      Packing = "bfd"       // examples longer than a row are truncated on the right
	PackBFDSplit Packing = "bfd_split" // examples longer than a row are split; each piece is a document
	PackWrapped  Packing = "wrapped"   // examples end to end, chopped into rows; each piece is a document
)

// Pack is one row of documents laid end to end.
type Pack struct {
	IDs     []int
	Mask    []bool // the first token of a document is never a target
	Lengths []int  // of the documents, in order; their sum is len(IDs)
	Rows    []*Row // the documents' origins, in order
}

// PackExamples fills rows of at most length tokens. It returns the rows and the number of tokens cut off (only
// by "bfd"). The result depends on the order of the examples only among equals.
func PackExamples(examples []Example, length int, how Packing) (rows []Pack, cut int, err error) {
	if length < 2 {
		return nil, 0, fault.Inputf("packing into rows of %d tokens; --max-length must be at least 2", length)
	}
	pieces, total := make([]piece, 0, len(examples)), 0
	for _, x := range examples {
		pieces = append(pieces, piece{x.IDs, x.Mask, x.Row})
		total += len(x.IDs)
	}
	length = min(length, max(2, total)) // a context without end must not size the tables
	switch how {
	case PackBFD:
		for i, p := range pieces {
			cut += max(0, len(p.ids)-length)
			pieces[i] = p.slice(0, min(len(p.ids), length))
		}
		return bestFit(pieces, length), cut, nil
	case PackBFDSplit:
		return bestFit(split(pieces, length), length), 0, nil
	case PackWrapped:
		return wrap(pieces, length), 0, nil
	default:
		return nil, 0, fault.Inputf("packing %q; choose bfd, bfd_split or wrapped", how)
	}
}

// piece is a document or a part of one.
type piece struct {
	ids  []int
	mask []bool
	row  *Row
}

func (p piece) slice(from, to int) piece { return piece{p.ids[from:to], p.mask[from:to], p.row} }

// add appends a piece as a document of its own. Its first token has no context, hence is no target.
func (r *Pack) add(p piece) {
	if len(p.ids) == 0 {
		return
	}
	start := len(r.IDs)
	r.IDs = append(r.IDs, p.ids...)
	r.Mask = append(r.Mask, p.mask...)
	r.Mask[start] = false
	r.Lengths = append(r.Lengths, len(p.ids))
	r.Rows = append(r.Rows, p.row)
}

// split cuts pieces into parts of at most length tokens.
func split(pieces []piece, length int) []piece {
	var parts []piece
	for _, p := range pieces {
		for len(p.ids) > length {
			parts = append(parts, p.slice(0, length))
			p = p.slice(length, len(p.ids))
		}
		parts = append(parts, p)
	}
	return parts
}

// bestFit packs pieces, none longer than length. Rows are kept in stacks by the room they have left, so that
// the best fit is found by looking at up to length stacks, whatever the number of rows.
func bestFit(pieces []piece, length int) []Pack {
	pieces = slices.Clone(pieces)
	slices.SortStableFunc(pieces, func(a, b piece) int { return len(b.ids) - len(a.ids) })
	var rows []Pack
	byRoom := make([][]int, length+1) // room → rows with exactly that much
	for _, p := range pieces {
		room := len(p.ids)
		for room <= length && len(byRoom[room]) == 0 {
			room++
		}
		var row int
		if room > length {
			rows = append(rows, Pack{})
			row, room = len(rows)-1, length
		} else {
			row = byRoom[room][0] // the oldest
			byRoom[room] = byRoom[room][1:]
		}
		rows[row].add(p)
		left := room - len(p.ids)
		byRoom[left] = append(byRoom[left], row)
	}
	return rows
}

// wrap lays everything end to end and chops it.
func wrap(pieces []piece, length int) []Pack {
	rows := []Pack{{}}
	for _, p := range pieces {
		for len(p.ids) > 0 {
			last := &rows[len(rows)-1]
			n := min(length-len(last.IDs), len(p.ids))
			if n == 0 {
				rows = append(rows, Pack{})
				continue
			}
			last.add(p.slice(0, n))
			p = p.slice(n, len(p.ids))
		}
	}
	return rows
}

// Fill returns the share of a batch of rows of the given length that is not padding.
func Fill(rows []Pack, length int) float64 {
	used := 0
	for _, r := range rows {
		used += len(r.IDs)
	}
	return float64(used) / float64(max(1, len(rows)*length))
}

// String describes a row for logs: its document lengths.
func (r Pack) String() string { return fmt.Sprint(r.Lengths) }
