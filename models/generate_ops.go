package models

// Generation op by op: any device, any type, any adapter.

import (
	"slices"

	"salsa/tensor"
)

// opsEngine computes a batch with Hidden and Logits.
type opsEngine struct {
	m      Model
	kv     *Cache
	places []*row // by row of the cache; nil is a free place
}

func (e *opsEngine) free() {
	if e.kv != nil {
		e.kv.Free()
	}
}

func (e *opsEngine) drop(r *row) { e.places[r.place], e.kv.Lens[r.place] = nil, 0 }

// running counts the places taken.
func (e *opsEngine) running() int {
	n := 0
	for _, r := range e.places {
		if r != nil {
			n++
		}
	}
	return n
}

func (e *opsEngine) admit(rows []*row) tensor.Tensor {
	longest := 0
	for _, r := range append(slices.Clone(rows), e.places...) {
		if r != nil {
			longest = max(longest, len(r.prompt)+r.limit)
		}
	}
	kv, h := e.prefill(rows, longest)
	if e.running() == 0 {
		e.free()
		e.kv, e.places = kv, slices.Clone(rows)
	} else {
		defer kv.Free()
		e.kv.max = max(e.kv.max, longest)
		e.put(rows, kv)
	}
	for place, r := range e.places {
		if r != nil {
			r.place = place
		}
	}
	return e.m.Logits(h)
}

// prefill computes the prompts of rows, each prompt once, and returns a cache of the rows and the states of their
// last tokens [rows, D].
func (e *opsEngine) prefill(rows []*row, longest int) (*Cache, tensor.Tensor) {
	prompts, of := sources(rows)
	kv := NewCache(e.m.Config(), len(prompts), longest)
	in := Collate(prompts)
	h := statesAt(e.m.Hidden(in, kv), lastTokens(in)) // [prompts, D]
	if len(prompts) < len(rows) {
		kv.Keep(of)
		h = h.IndexSelect(0, tensor.Ints(of, len(of)).OnDevice(h.Device())) // [rows, D]
	}
	return kv, h
}

// sources returns the different prompts of rows, and the index of each row's among them.
func sources(rows []*row) (prompts [][]int, of []int) {
	of = make([]int, len(rows))
	for i, r := range rows {
		if i == 0 || r.source != rows[i-1].source {
			prompts = append(prompts, r.prompt)
		}
		of[i] = len(prompts) - 1
	}
	return prompts, of
}

// put moves new rows into free places, adding places where there are too few.
func (e *opsEngine) put(rows []*row, kv *Cache) {
	var free []int
	for i, r := range e.places {
		if r == nil {
			free = append(free, i)
		}
	}
	if missing := len(rows) - len(free); missing > 0 {
		all := make([]int, 0, len(e.places)+missing)
		for i := range len(e.places) + missing {
			all = append(all, min(i, len(e.places)-1)) // a new place begins as a copy of the last one
		}
		e.kv.Keep(all)
		for range missing {
			free = append(free, len(e.places))
			e.places = append(e.places, nil)
		}
	}
	free = free[:len(rows)]
	e.kv.Put(free, kv)
	for i, place := range free {
		e.places[place] = rows[i]
	}
}

// compact drops the free places.
func (e *opsEngine) compact() {
	var keep []int
	var rows []*row
	for i, r := range e.places {
		if r != nil {
			r.place = len(rows)
			keep, rows = append(keep, i), append(rows, r)
		}
	}
	e.kv.Keep(keep)
	e.places = rows
}

// next computes free places along, and nobody reads them.
func (e *opsEngine) next(rows []*row) tensor.Tensor {
	if 2*len(rows) <= len(e.places) {
		e.compact()
	}
	ids, lens, places := make([]int, len(e.places)), make([]int, len(e.places)), make([]int, len(rows))
	for i, r := range rows {
		ids[r.place], lens[r.place], places[i] = r.last(), 1, r.place
	}
	in := Input{IDs: tensor.Ints(ids, len(ids), 1), Lens: lens}
	h := e.m.Hidden(in, e.kv).Select(1, 0)                                      // [B, D]
	h = h.IndexSelect(0, tensor.Ints(places, len(places)).OnDevice(h.Device())) // [rows, D]
	return e.m.Logits(h)
}
