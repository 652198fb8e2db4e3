package tokenizer

// Reading of a SentencePiece model file: the few fields of its protocol buffer that matter, by hand.

import (
	"encoding/binary"
	"errors"
	"math"
)

// Types of a piece in a SentencePiece model.
const (
	pieceNormal      = 1
	pieceUnknown     = 2
	pieceControl     = 3
	pieceUserDefined = 4
	pieceUnused      = 5
	pieceByte        = 6
)

// spmPiece is an entry of the vocabulary; its id is its index.
type spmPiece struct {
	text  string
	score float32
	kind  uint64
}

// spmModel is what a tokenizer.model says.
type spmModel struct {
	pieces       []spmPiece
	modelType    uint64 // 1 unigram, 2 BPE, 3 word, 4 char
	byteFallback bool
	suffix       bool // treat_whitespace_as_suffix
	bos, eos     int
	normalizer   string // its name
	charsMap     int    // length of the compiled normalization rules
	dummyPrefix  bool
	squeeze      bool // remove_extra_whitespaces
	escape       bool // escape_whitespaces
}

// wireField is a field of a protocol buffer message: number holds a varint or the bits of a fixed-size value.
type wireField struct {
	id     uint64
	number uint64
	data   []byte
}

var errWire = errors.New("is not a SentencePiece model: its protocol buffer is damaged or cut short")

// eachField calls visit with every field of a message.
func eachField(data []byte, visit func(wireField) error) error {
	for len(data) > 0 {
		key, n := binary.Uvarint(data)
		if n <= 0 {
			return errWire
		}
		data = data[n:]
		f := wireField{id: key >> 3}
		size := 0
		switch key & 7 {
		case 0:
			if f.number, size = binary.Uvarint(data); size <= 0 {
				return errWire
			}
		case 1, 5:
			size = 8
			if key&7 == 5 {
				size = 4
			}
			if len(data) < size {
				return errWire
			}
			var full [8]byte
			copy(full[:], data[:size])
			f.number = binary.LittleEndian.Uint64(full[:])
		case 2:
			length, n := binary.Uvarint(data)
			if n <= 0 || length > uint64(len(data)-n) {
				return errWire
			}
			size = n + int(length)
			f.data = data[n:size]
		default:
			return errWire
		}
		data = data[size:]
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// parseSPM reads a model file; absent fields have the defaults of SentencePiece's schema.
func parseSPM(data []byte) (*spmModel, error) {
	m := &spmModel{modelType: 1, bos: 1, eos: 2, dummyPrefix: true, squeeze: true, escape: true}
	err := eachField(data, func(f wireField) error {
		switch f.id {
		case 1:
			return m.readPiece(f.data)
		case 2:
			return eachField(f.data, m.readTrainer)
		case 3:
			return eachField(f.data, m.readNormalizer)
		}
		return nil
	})
	if err == nil && len(m.pieces) == 0 {
		err = errWire
	}
	return m, err
}

func (m *spmModel) readPiece(data []byte) error {
	p := spmPiece{kind: pieceNormal}
	err := eachField(data, func(f wireField) error {
		switch f.id {
		case 1:
			p.text = string(f.data)
		case 2:
			p.score = math.Float32frombits(uint32(f.number))
		case 3:
			p.kind = f.number
		}
		return nil
	})
	m.pieces = append(m.pieces, p)
	return err
}

func (m *spmModel) readTrainer(f wireField) error {
	switch f.id {
	case 3:
		m.modelType = f.number
	case 24:
		m.suffix = f.number != 0
	case 35:
		m.byteFallback = f.number != 0
	case 41:
		m.bos = int(int32(f.number))
	case 42:
		m.eos = int(int32(f.number))
	}
	return nil
}

func (m *spmModel) readNormalizer(f wireField) error {
	switch f.id {
	case 1:
		m.normalizer = string(f.data)
	case 2:
		m.charsMap = len(f.data)
	case 3:
		m.dummyPrefix = f.number != 0
	case 4:
		m.squeeze = f.number != 0
	case 5:
		m.escape = f.number != 0
	}
	return nil
}
