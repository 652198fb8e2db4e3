package job

// salsa tokenize: what a tokenizer makes of texts, bytes and ids.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"

	"salsa/data/tokenizer"
	"salsa/internal/fault"
)

// TokenizeOptions are the options of `salsa tokenize`.
type TokenizeOptions struct {
	Tokenizer string `yaml:"tokenizer" required:"true" input:"path" arg:"DIR|FILE" help:"model folder, tokenizer.json or tokenizer.model"`
	Data      string `yaml:"data" required:"true" input:"path" arg:"FILE" help:"rows with text, bytes_b64 or decode_ids"`
	Out       string `yaml:"out" required:"true" arg:"FILE" help:"a .jsonl file, a row for each row of --data; one that is there is replaced" hash:"-"`
	JSON      bool   `yaml:"json" help:"end with one line of JSON on standard output" hash:"-"`
}

// DefaultTokenize returns the defaults.
func DefaultTokenize() TokenizeOptions { return TokenizeOptions{} }

type tokenizeIn struct {
	Text      *string `json:"text"`
	Bytes     []byte  `json:"bytes_b64"`
	DecodeIDs *[]int  `json:"decode_ids"`
}

type tokenizeOut struct {
	IDs         *[]int `json:"ids,omitempty"`
	WithSpecial *[]int `json:"ids_with_special,omitempty"`
	Decoded     string `json:"decoded"`
	DecodedSkip string `json:"decoded_skip"`
	Offsets     *[]int `json:"offsets,omitempty"` // start, end, start, end, … in code points, for IDs
}

// Tokenize runs the job.
func Tokenize(ctx context.Context, o *TokenizeOptions) (map[string]float64, error) {
	tok, err := tokenizer.Load(o.Tokenizer)
	if err != nil {
		return nil, err
	}
	if err := checkOutFile(o.Out, o.Data); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(o.Data)
	if err != nil {
		return nil, fault.Inputf("%s: cannot be read: %w; check --data", o.Data, errors.Unwrap(err))
	}
	var out []tokenizeOut
	r := bufio.NewReader(bytes.NewReader(raw))
	for line := 1; ; line++ {
		text, err := r.ReadBytes('\n')
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if len(bytes.TrimSpace(text)) > 0 {
			row, rowErr := tokenizeRow(tok, text)
			if rowErr != nil {
				return nil, fault.Inputf("%s:%d: %w", o.Data, line, rowErr)
			}
			out = append(out, row)
		}
		if errors.Is(err, io.EOF) {
			break
		}
	}
	if len(out) == 0 {
		return nil, fault.Inputf("%s: no rows in the file; give a file with at least one", o.Data)
	}
	return map[string]float64{"rows": float64(len(out))}, writeRows(o.Out, out)
}

func tokenizeRow(tok *tokenizer.Tokenizer, raw []byte) (tokenizeOut, error) {
	var in tokenizeIn
	if err := json.Unmarshal(raw, &in); err != nil {
		return tokenizeOut{}, err
	}
	var text string
	switch {
	case in.DecodeIDs != nil:
		ids := *in.DecodeIDs
		return tokenizeOut{Decoded: tok.Decode(ids, false), DecodedSkip: tok.Decode(ids, true)}, nil
	case in.Text != nil:
		text = *in.Text
	case in.Bytes != nil:
		text = string(in.Bytes)
	default:
		return tokenizeOut{}, errors.New("a row needs text, bytes_b64 or decode_ids")
	}
	ids, offsets := tok.EncodeOffsets(text, false)
	special := tok.Encode(text, true)
	flat := make([]int, 0, 2*len(offsets))
	for _, span := range offsets {
		flat = append(flat, span[0], span[1])
	}
	ids, special = notNil(ids), notNil(special)
	return tokenizeOut{IDs: &ids, WithSpecial: &special, Decoded: tok.Decode(ids, false),
		DecodedSkip: tok.Decode(special, true), Offsets: &flat}, nil
}

// notNil makes an empty list print as [] and not as null.
func notNil[E any](s []E) []E {
	if s == nil {
		return []E{}
	}
	return s
}
