// Package nn holds the blocks of decoder transformers: linear maps, embeddings, norms, rotary positions,
// attention and gated MLPs. Blocks are plain structs whose weights carry their Hugging Face names as struct
// tags; their Forward methods are pure arithmetic and panic with *tensor.Error, as tensor's ops do.
//
// This file walks the tags: the walk is the only list of a model's weights.
package nn

import (
	"fmt"
	"iter"
	"reflect"
	"strconv"
	"strings"

	"salsa/tensor"
)

// Init says how a weight begins in a model that is not loaded.
type Init int

// A weight begins normal with the config's standard deviation, or constant.
const (
	Normal Init = iota
	Zeros
	Ones
)

// Param is one weight of a module.
type Param struct {
	Name   string         // Hugging Face's full name
	Tensor *tensor.Tensor // where the module keeps it
	Shape  []int          // the shape it must have
	Init   Init

	Dropout *Dropout // of an adapter's matrices, nil of all others
}

// leaf is a block that holds weights itself. spec gives the shape and the beginning of the weight with the
// given tag; a nil shape says that this model has no such weight.
type leaf interface {
	spec(tag string) (shape []int, init Init)
}

var tensorType = reflect.TypeFor[tensor.Tensor]()

// Params walks the weights of a module, a pointer to a struct, in the order of its fields. The tag
// `hf:"name"` gives a field its part of the full name, `hf:",inline"` none; slices number their elements; a
// field without a tag holds no weights. A nil field is passed over if its tag says ",optional", and is a bug
// that panics otherwise.
func Params(module any) iter.Seq[Param] {
	return func(yield func(Param) bool) {
		walk("", reflect.ValueOf(module), func(prefix string, block reflect.Value) bool {
			l, ok := block.Addr().Interface().(leaf)
			if !ok {
				return true
			}
			for i := range block.NumField() {
				tag, _, _ := strings.Cut(block.Type().Field(i).Tag.Get("hf"), ",")
				if tag == "" || block.Field(i).Type() != tensorType {
					continue
				}
				shape, init := l.spec(tag)
				t := block.Field(i).Addr().Interface().(*tensor.Tensor)
				if shape != nil && !yield(Param{Name: join(prefix, tag), Tensor: t, Shape: shape, Init: init}) {
					return false
				}
			}
			return true
		})
	}
}

// Linears walks the linear maps of a module with their full names, such as "model.layers.0.self_attn.q_proj":
// the places where an adapter can go.
func Linears(module any) iter.Seq2[string, *Linear] {
	return func(yield func(string, *Linear) bool) {
		walk("", reflect.ValueOf(module), func(prefix string, block reflect.Value) bool {
			l, ok := block.Addr().Interface().(*Linear)
			return !ok || yield(prefix, l)
		})
	}
}

// Count returns the number of elements of all weights of a module.
func Count(module any) int {
	total := 0
	for p := range Params(module) {
		n := 1
		for _, d := range p.Shape {
			n *= d
		}
		total += n
	}
	return total
}

// walk calls visit for v's struct and then for those in its tagged fields, until visit returns false.
func walk(prefix string, v reflect.Value, visit func(prefix string, block reflect.Value) bool) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			panic(fmt.Sprintf("nn: %q is nil; a block that a model may lack needs the tag option \"optional\"", prefix))
		}
		return walk(prefix, v.Elem(), visit)
	case reflect.Slice:
		for i := range v.Len() {
			if !walk(join(prefix, strconv.Itoa(i)), v.Index(i), visit) {
				return false
			}
		}
		return true
	case reflect.Struct:
		return visit(prefix, v) && walkFields(prefix, v, visit)
	default:
		panic(fmt.Sprintf("nn: %q is a %s, which holds no weights; remove its hf tag", prefix, v.Type()))
	}
}

func walkFields(prefix string, v reflect.Value, visit func(string, reflect.Value) bool) bool {
	for i := range v.NumField() {
		tag, tagged := v.Type().Field(i).Tag.Lookup("hf")
		f := v.Field(i)
		if !tagged || f.Type() == tensorType {
			continue
		}
		name, option, _ := strings.Cut(tag, ",")
		nilable := f.Kind() == reflect.Pointer || f.Kind() == reflect.Interface
		if option == "optional" && nilable && f.IsNil() {
			continue
		}
		if !walk(join(prefix, name), f, visit) {
			return false
		}
	}
	return true
}

func join(prefix, name string) string {
	if prefix == "" || name == "" {
		return prefix + name
	}
	return prefix + "." + name
}
