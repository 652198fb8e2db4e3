package tokenizer

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzEncode holds what must be true of every text: offsets agree with ids, streaming with decoding, and byte-level
// tokenizers without a normalizer give the text back.
func FuzzEncode(f *testing.F) {
	names := []string{"gpt2", "llama3", "tekken", "deepseek", "llama2", "cross", "mistral", "gemma", "qwen2", "phi3", "splitmix", "neox"}
	toks := make([]*Tokenizer, len(names))
	for i, name := range names {
		toks[i] = loadGolden(f, name)
		for k, row := range goldenRows(f, name) {
			if row.Text != nil && k%100 == 0 {
				f.Add(*row.Text)
			}
		}
	}
	f.Add("\xff\xe4\xbd <s>x\x00")
	f.Fuzz(func(t *testing.T, text string) {
		clean := validUTF8(text)
		points := utf8.RuneCountInString(clean)
		for i, tok := range toks {
			ids := tok.Encode(text, false)
			again, offsets := tok.EncodeOffsets(text, false)
			if !equalInts(ids, again) {
				t.Fatalf("%s: Encode %v, EncodeOffsets %v", names[i], ids, again)
			}
			for _, o := range offsets {
				if o[0] < 0 || o[0] > o[1] || o[1] > points {
					t.Fatalf("%s: offset %v of %d code points", names[i], o, points)
				}
			}
			decoded := tok.Decode(ids, false)
			if i < 4 && decoded != clean {
				t.Fatalf("%s: %q comes back as %q", names[i], clean, decoded)
			}
			s := tok.Stream(false)
			var streamed strings.Builder
			for _, id := range ids {
				streamed.WriteString(s.Push(id))
			}
			streamed.WriteString(s.Flush())
			if streamed.String() != decoded {
				t.Fatalf("%s: streamed %q, decoded %q", names[i], streamed.String(), decoded)
			}
		}
	})
}

func equalInts(a, b []int) bool {
	return len(a) == len(b) && hashIDs(a) == hashIDs(b)
}

// FuzzLoadJSON holds that a damaged tokenizer.json is an error of one line or a tokenizer that works.
func FuzzLoadJSON(f *testing.F) {
	f.Add([]byte(`{"added_tokens":[{"id":3,"content":"<s>","special":true}],"normalizer":{"type":"NFKC"},
		"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\s+(?!\\S)|[^\\p{L}x]{1,3}"},"behavior":"MergedWithNext","invert":false},
		{"type":"Metaspace","replacement":"_","prepend_scheme":"first","split":true}]},
		"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],"pair":[],
		"special_tokens":{"<s>":{"id":"<s>","ids":[3],"tokens":["<s>"]}}},
		"decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":1}]},
		"model":{"type":"BPE","unk_token":"a","fuse_unk":true,"vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := parseJSON("fuzz.json", data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("error of several lines: %q", err)
			}
			return
		}
		const text = "ab <s> 12  x\ny é"
		ids, _ := tok.EncodeOffsets(text, true)
		tok.Decode(ids, true)
		tok.Decode([]int{0, 1, 2, 3, 4}, false)
		tok.Hash()
	})
}

// FuzzLoadModelFile does the same for a SentencePiece file.
func FuzzLoadModelFile(f *testing.F) {
	f.Add(readGzip(f, "testdata/spm/tiny.model.gz"))
	f.Add([]byte{0x0A, 0x03, 0x0A, 0x01, 'a', 0x12, 0x02, 0x18, 0x02})
	f.Fuzz(func(t *testing.T, data []byte) {
		tok, err := parseModelFile("fuzz.model", data, &Config{})
		if err == nil {
			tok.Decode(tok.Encode("the <s> light\n", true), true)
		}
	})
}

// FuzzPattern compares the pattern engine with Go's regexp where both read a pattern alike: ASCII text, no look-ahead.
func FuzzPattern(f *testing.F) {
	f.Add(`'s| ?[a-z]+|[^\s\d]+?x|\d{1,3}|\s+`, "it's 1234 x")
	f.Add(`(?:ab|a)(?:bc)?|[-x.]*z`, "abc..z")
	f.Fuzz(func(t *testing.T, src, text string) {
		if len(src) > 40 || strings.Contains(src, "}?") || len(text) > 20 || strings.Contains(text, "\v") || strings.ContainsAny(src, `vWwSBbpPQECxuAzGi^$,&:`) || !ascii(src+text) {
			return
		}
		p, err := compilePattern(src)
		if err != nil {
			return
		}
		re, err := regexp.Compile(src)
		if err != nil {
			return
		}
		var got [][]int
		p.each(&matcher{}, text, func(start, end int) { got = append(got, []int{start, end}) })
		want := re.FindAllStringIndex(text, -1)
		if len(got) != len(want) {
			t.Fatalf("%q on %q: got %v, want %v", src, text, got, want)
		}
		for i := range got {
			if got[i][0] != want[i][0] || got[i][1] != want[i][1] {
				t.Fatalf("%q on %q: got %v, want %v", src, text, got, want)
			}
		}
	})
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
