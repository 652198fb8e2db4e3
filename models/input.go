package models

// Batches of ids, and which of their tokens are targets.

import (
	"fmt"

	"salsa/tensor"
)

// Input is a batch of rows, padded on the right unless Start says otherwise. Padding needs no mask: attention is
// causal, so no token sees it, and its own states are read by nobody.
type Input struct {
	IDs  tensor.Tensor // [B, T] int64
	Pos  tensor.Tensor // [B, T] int64 positions; absent: 0, 1, … from the row's or document's first token
	Seg  tensor.Tensor // [B, T] int64 document of each token of packed rows; absent: a row is a document
	Lens []int         // [B] tokens of each row without padding; nil: all T
	// Start is [B] the column of each row's first token, for batches that come padded on the left; nil: 0. Such rows are
	// moved to the left edge and their states back, so they compute the same bits. It goes without Pos and Seg.
	Start []int
}

func (in Input) onDevice(d tensor.Device) Input {
	in.IDs = in.IDs.OnDevice(d)
	if in.Pos.Defined() {
		in.Pos = in.Pos.OnDevice(d)
	}
	if in.Seg.Defined() {
		in.Seg = in.Seg.OnDevice(d)
	}
	return in
}

// lens returns Lens, spelled out.
func (in Input) lens() []int {
	if in.Lens != nil {
		return in.Lens
	}
	lens := make([]int, in.IDs.Dim(0))
	for b := range lens {
		lens[b] = in.IDs.Dim(1)
	}
	return lens
}

// width returns the length of the longest row, at least 1.
func width(rows [][]int) int {
	t := 1
	for _, row := range rows {
		t = max(t, len(row))
	}
	return t
}

// Collate pads rows of ids on the right to the longest. Padding is id 0, whatever that stands for.
func Collate(rows [][]int) Input {
	t := width(rows)
	ids, lens := make([]int, len(rows)*t), make([]int, len(rows))
	for b, row := range rows {
		lens[b] = copy(ids[b*t:(b+1)*t], row)
	}
	return Input{IDs: tensor.Ints(ids, len(rows), t), Lens: lens}
}

// Pack joins the documents of each row, which do not see one another and whose positions begin at 0 each. It
// also returns the joined rows, for TargetsOf, whose mask must leave out every document's first token.
func Pack(rows [][][]int) (in Input, joined [][]int) {
	joined = make([][]int, len(rows))
	for b, docs := range rows {
		for _, doc := range docs {
			joined[b] = append(joined[b], doc...)
		}
	}
	in = Collate(joined)
	t := in.IDs.Dim(1)
	pos, seg := make([]int, len(rows)*t), make([]int, len(rows)*t)
	for b, docs := range rows {
		at := b * t
		for s, doc := range docs {
			for i := range doc {
				pos[at], seg[at] = i, s+1 // 0 is padding
				at++
			}
		}
	}
	in.Pos, in.Seg = tensor.Ints(pos, len(rows), t), tensor.Ints(seg, len(rows), t)
	return in, joined
}

// Targets are the tokens of a batch whose log-probabilities are wanted, row by row from left to right.
type Targets struct {
	Index tensor.Tensor // [N] int64: b·T + t of the token before each target, where it is predicted
	IDs   tensor.Tensor // [N] int64: the targets
	Rows  []int         // [N]: the row of each target
}

// TargetsOf collects the tokens for which mask[b][t] holds, or all but each row's first if mask is nil, in the
// layout of Collate(rows). A row's first token cannot be a target: nothing predicts it.
func TargetsOf(rows [][]int, mask [][]bool) Targets {
	return targetsOf(rows, mask, width(rows), Input{})
}

// Targets is TargetsOf in the layout of the batch, whose rows without padding are rows.
func (in Input) Targets(rows [][]int, mask [][]bool) Targets {
	return targetsOf(rows, mask, in.IDs.Dim(1), in)
}

func targetsOf(rows [][]int, mask [][]bool, t int, in Input) Targets {
	var index, ids, of []int
	for b, row := range rows {
		for i, id := range row {
			switch {
			case mask != nil && !mask[b][i], mask == nil && i == 0:
				continue
			case i == 0:
				panic(&tensor.Error{Op: "targets", Msg: fmt.Sprintf("row %d: its first token is marked as a target, and nothing predicts it", b)})
			}
			index, ids, of = append(index, b*t+in.start(b)+i-1), append(ids, id), append(of, b)
		}
	}
	return Targets{Index: tensor.Ints(index, len(index)), IDs: tensor.Ints(ids, len(ids)), Rows: of}
}

// SumRows adds up x [N], one value per target, by row: [rows].
func (a Targets) SumRows(x tensor.Tensor, rows int) tensor.Tensor {
	zero := tensor.Zeros(x.DType(), x.Device(), rows)
	return zero.IndexAdd(0, tensor.Ints(a.Rows, len(a.Rows)).OnDevice(x.Device()), x)
}

// LogProbs scores each target at a temperature: log-probability and entropy, differentiable, and whether it is the
// most likely token, [N] fp32 each. No [B, T, V] tensor exists on the way.
func LogProbs(m Model, in Input, at Targets, temperature float64) tensor.TargetScores {
	return logProbs(m, m.HiddenAt(in, at.Index), at, temperature)
}

// LogProbsLoss is the sum of a loss of LogProbs' scores over all targets, given parts of them at a time: see
// tensor.LinearLogProbLoss. It costs less than Backward from LogProbs.
func LogProbsLoss(m Model, in Input, at Targets, temperature float64, loss tensor.TokenLoss) tensor.Tensor {
	h := m.HiddenAt(in, at.Index) // [N, D]
	return tensor.LinearLogProbLoss(h, m.HeadWeight(), at.IDs.OnDevice(h.Device()), temperature, m.Config().FinalSoftcap, loss)
}

func logProbs(m Model, h tensor.Tensor, at Targets, temperature float64) tensor.TargetScores {
	return tensor.LinearLogProb(h, m.HeadWeight(), at.IDs.OnDevice(h.Device()), temperature, m.Config().FinalSoftcap)
}
