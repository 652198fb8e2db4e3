package native

// A decoder's layers as one call; see decode.h.

/*
#include <stdlib.h>
#include "decode.h"
*/
import "C"

import (
	"runtime"
	"unsafe"

	"github.com/sugarme/gotch/libtch"
)

// The number of tensors that describe a model, and each of its layers, in the order of decode.h.
const (
	ModelTensors = C.SN_MODEL_TENSORS
	LayerTensors = C.SN_LAYER_TENSORS
)

// DecoderShape is decode.h's sn_decoder_shape.
type DecoderShape struct {
	Layers, Hidden, Heads, KVHeads, HeadDim, Inner, Vocab int
	Activation                                            int
	PlusOne                                               bool
	Panels                                                int // weights with rows shorter than this are copied into the order in which they are read
	Eps, Scale, Softcap, EmbedScale, FinalSoftcap         float64
}

// Decoder is a model whose weights the kernel holds on to.
type Decoder struct{ p unsafe.Pointer }

// NewDecoder prepares a model: tensors are those of the model, then those of each layer; windows and local say
// of each layer how far it sees and whether it turns by the second pair of tables.
func NewDecoder(s DecoderShape, tensors []libtch.Ctensor, windows []int64, local []int64) (*Decoder, error) {
	shape := C.sn_decoder_shape{
		layers: C.int64_t(s.Layers), hidden: C.int64_t(s.Hidden), heads: C.int64_t(s.Heads), kv_heads: C.int64_t(s.KVHeads),
		head_dim: C.int64_t(s.HeadDim), inner: C.int64_t(s.Inner), vocab: C.int64_t(s.Vocab), act: C.int(s.Activation),
		plus_one: flag(s.PlusOne), panels: C.int64_t(s.Panels), eps: C.double(s.Eps), scale: C.double(s.Scale), softcap: C.double(s.Softcap),
		embed_scale: C.double(s.EmbedScale), final_softcap: C.double(s.FinalSoftcap),
	}
	var p unsafe.Pointer
	err := check(C.sn_decoder_new(&p, &shape, handles(tensors), dims(windows), dims(local)))
	return &Decoder{p}, err
}

// DecoderStep is decode.h's sn_decoder_step.
type DecoderStep struct {
	IDs, Rows, Slots, Turns, Last []int
	Keys, Values                  []libtch.Ctensor
	Tables                        [4]libtch.Ctensor // cos, sin, local cos, local sin
}

// Run computes the tokens of a step and returns logits [len(Last), V] in float32.
func (d *Decoder) Run(s DecoderStep) (libtch.Ctensor, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	list := func(v []int) *C.int64_t {
		if len(v) == 0 {
			return nil
		}
		pin.Pin(&v[0])
		return (*C.int64_t)(unsafe.Pointer(&v[0]))
	}
	tensors := func(v []libtch.Ctensor) *C.sn_tensor {
		pin.Pin(&v[0])
		return handles(v)
	}
	step := C.sn_decoder_step{
		n: C.int(len(s.IDs)), n_last: C.int(len(s.Last)), ids: list(s.IDs), rows: list(s.Rows), slots: list(s.Slots),
		turns: list(s.Turns), last: list(s.Last), keys: tensors(s.Keys), values: tensors(s.Values),
		cos: handle(s.Tables[0]), sin: handle(s.Tables[1]), local_cos: handle(s.Tables[2]), local_sin: handle(s.Tables[3]),
	}
	var out C.sn_tensor
	err := check(C.sn_decoder_run(&out, d.p, &step))
	return tensorOf(out), err
}

// Free lets go of the weights.
func (d *Decoder) Free() { C.sn_decoder_free(d.p) }
