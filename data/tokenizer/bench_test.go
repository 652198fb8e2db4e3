package tokenizer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// prose returns real text of about 2 kB pieces: the stories of ../shared when they are there, else golden rows.
func prose(b *testing.B) []string {
	b.Helper()
	var parts []string
	data, err := os.ReadFile("../../../shared/data/tinystories-sample/tinystories.txt")
	if err != nil {
		for _, row := range goldenRows(b, "gpt2") {
			if row.Text != nil {
				data = append(data, *row.Text...)
			}
		}
	}
	for text := string(data); len(text) > 2048 && len(parts) < 1000; text = text[2048:] {
		parts = append(parts, strings.ToValidUTF8(text[:2048], ""))
	}
	return parts
}

func benchmarkEncode(b *testing.B, tok *Tokenizer) {
	texts := prose(b)
	b.SetBytes(2048)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		tok.Encode(texts[i%len(texts)], false)
		i++
	}
}

// BenchmarkEncode measures prose in pieces of 2 kB; MB/s is of text.
func BenchmarkEncode(b *testing.B) {
	for _, name := range []string{"llama2", "cross", "mistral", "gemma", "gpt2", "llama3", "qwen2", "tekken", "o200k", "deepseek"} {
		b.Run(name, func(b *testing.B) { benchmarkEncode(b, loadGolden(b, name)) })
	}
	for _, file := range []string{"tinystories-656k/tokenizer.json", "mistral-tokenizers/mistral_instruct_tokenizer_240323.model.v3"} {
		b.Run(filepath.Dir(file), func(b *testing.B) {
			tok, err := Load(sharedData(b, file))
			if err != nil {
				b.Fatal(err)
			}
			benchmarkEncode(b, tok)
		})
	}
}

// BenchmarkLongWord shows that the time per byte of one word does not grow with its length.
func BenchmarkLongWord(b *testing.B) {
	for _, name := range []string{"gpt2", "cross"} {
		tok := loadGolden(b, name)
		for _, size := range []int{1_000, 10_000, 100_000} {
			word := strings.Repeat("abcdefghijklmnop", size/16)
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.SetBytes(int64(len(word)))
				for b.Loop() {
					tok.Encode(word, false)
				}
			})
		}
	}
}

// BenchmarkDecode measures ids of prose; MB/s is of text.
func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{"llama2", "llama3"} {
		tok := loadGolden(b, name)
		ids := tok.Encode(prose(b)[0], false)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(2048)
			for b.Loop() {
				tok.Decode(ids, false)
			}
		})
	}
}

// BenchmarkLoad measures reading a small tokenizer.json.
func BenchmarkLoad(b *testing.B) {
	data := readGzip(b, "testdata/golden/llama3.tokenizer.json.gz")
	for b.Loop() {
		if _, err := parseJSON("llama3", data); err != nil {
			b.Fatal(err)
		}
	}
}
