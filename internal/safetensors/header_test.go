package safetensors

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// raw puts a file together from a header and a number of data bytes.
func raw(header string, data int) []byte {
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(out, header...), make([]byte, data)...)
}

const one = `{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`

// two is a header of two one-byte-element tensors of 4 bytes in all, at the given offsets.
func two(a, b string) string {
	return `{"a":{"dtype":"U8","shape":[2],"data_offsets":` + a + `},"b":{"dtype":"U8","shape":[2],"data_offsets":` + b + `}}`
}

func TestReadHeaderRefuses(t *testing.T) {
	cut := func(b []byte, n int) []byte { return b[:len(b)-n] }
	claim := func(n uint64) []byte { return append(binary.LittleEndian.AppendUint64(nil, n), one...) }
	for name, c := range map[string]struct {
		file []byte
		want []string
	}{
		"empty":              {nil, []string{"0 bytes", "too few"}},
		"seven bytes":        {make([]byte, 7), []string{"7 bytes"}},
		"longer than file":   {claim(uint64(len(one) + 1)), []string{"header", "in all"}},
		"over the limit":     {claim(maxHeader + 1), []string{"100000001", "limit"}},
		"claims 2^64-1":      {claim(1<<64 - 1), []string{"limit"}},
		"claims 2^63":        {claim(1 << 63), []string{"limit"}},
		"no header":          {claim(0), []string{"begin with {"}},
		"not UTF-8":          {raw("{\"\xff\":1}", 0), []string{"UTF-8"}},
		"byte order mark":    {raw("\ufeff"+one, 8), []string{"begin with {"}},
		"array":              {raw(`[1]`, 0), []string{"begin with {"}},
		"not JSON":           {raw(`{"w":`, 0), []string{"not valid JSON"}},
		"two documents":      {raw(one+one, 8), []string{"not valid JSON"}},
		"duplicate tensor":   {raw(strings.Replace(one, "}}", `},"w":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}`, 1), 8), []string{`"w"`, "twice"}},
		"escaped duplicate":  {raw(`{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0077":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`, 0), []string{`"w"`, "twice"}},
		"duplicate field":    {raw(strings.Replace(one, `"shape"`, `"shape":[2],"shape"`, 1), 8), []string{`"w"`, `"shape"`, "twice"}},
		"duplicate meta":     {raw(`{"__metadata__":{"a":"1","a":"2"}}`, 0), []string{`"a"`, "twice"}},
		"meta not strings":   {raw(`{"__metadata__":{"a":1}}`, 0), []string{`"a"`, "string"}},
		"meta not object":    {raw(`{"__metadata__":"a"}`, 0), []string{"object"}},
		"entry not object":   {raw(`{"w":[]}`, 0), []string{`"w"`, "object"}},
		"unknown field":      {raw(strings.Replace(one, `"shape"`, `"shap"`, 1), 8), []string{`"w"`, `"shap"`}},
		"missing field":      {raw(`{"w":{"dtype":"F32","shape":[2]}}`, 8), []string{`"w"`, "data_offsets"}},
		"unknown dtype":      {raw(strings.Replace(one, "F32", "F4", 1), 8), []string{`"w"`, `"F4"`, "convert", "BF16"}},
		"dtype not string":   {raw(strings.Replace(one, `"F32"`, `32`, 1), 8), []string{`"w"`, "string"}},
		"negative size":      {raw(strings.Replace(one, "[2]", "[-2]", 1), 8), []string{`"w"`, "-2"}},
		"fraction":           {raw(strings.Replace(one, "[2]", "[2.0]", 1), 8), []string{`"w"`, "2.0"}},
		"exponent":           {raw(strings.Replace(one, "[2]", "[2e0]", 1), 8), []string{`"w"`, "2e0"}},
		"size beyond int":    {raw(strings.Replace(one, "[2]", "[9223372036854775808]", 1), 8), []string{`"w"`, "9223372036854775808"}},
		"size of null":       {raw(strings.Replace(one, "[2]", "[null]", 1), 8), []string{`"w"`}},
		"nested shape":       {raw(strings.Replace(one, "[2]", "[[2]]", 1), 8), []string{`"w"`}},
		"shape not array":    {raw(strings.Replace(one, "[2]", "2", 1), 8), []string{`"w"`, "array"}},
		"overflow to 8":      {raw(strings.Replace(one, "[2]", "[4611686018427387906]", 1), 8), []string{`"w"`, "larger"}},
		"overflow to 0":      {raw(`{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0), []string{`"w"`, "larger"}},
		"wrong size":         {raw(strings.Replace(one, "[2]", "[3]", 1), 8), []string{`"w"`, "12 bytes", "8"}},
		"three offsets":      {raw(strings.Replace(one, "[0,8]", "[0,8,9]", 1), 8), []string{`"w"`, "data_offsets"}},
		"backwards":          {raw(strings.Replace(one, "[0,8]", "[8,0]", 1), 8), []string{`"w"`, "data_offsets"}},
		"overlap":            {raw(two("[0,2]", "[1,3]"), 3), []string{`"b"`, `"a"`, "overlaps"}},
		"same place":         {raw(two("[0,2]", "[0,2]"), 2), []string{"overlaps"}},
		"hole":               {raw(two("[0,2]", "[3,5]"), 5), []string{`"b"`, "hole"}},
		"hole at the start":  {raw(two("[3,5]", "[1,3]"), 5), []string{`"b"`, "hole"}},
		"cut off":            {cut(raw(one, 8), 1), []string{`"w"`, "cut off"}},
		"cut off in header":  {cut(raw(one, 0), 1), []string{"in all"}},
		"trailing bytes":     {raw(one, 9), []string{"1 bytes follow"}},
		"data without infos": {raw(`{}`, 1), []string{"1 bytes follow"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.safetensors")
			require.NoError(t, os.WriteFile(path, c.file, 0o644))
			_, err := ReadHeader(path)
			requireInput(t, err, append(c.want, path)...)
		})
	}
	_, err := ReadHeader("testdata/absent.safetensors")
	requireInput(t, err, "testdata/absent.safetensors", "check the path")
	_, err = ReadHeader("testdata")
	requireInput(t, err, "testdata", "plain file")
}

func TestReadHeaderAccepts(t *testing.T) {
	for name, file := range map[string][]byte{
		"padded":               raw(one+"   ", 8),
		"no tensors":           raw(`{}`, 0),
		"only metadata":        raw(`{"__metadata__":{}}`, 0),
		"unsorted":             raw(two("[2,4]", "[0,2]"), 4),
		"empty between others": raw(`{"z":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"m":{"dtype":"F32","shape":[0,9],"data_offsets":[1,1]}}`, 2),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(bytes.NewReader(file), int64(len(file)))
			require.NoError(t, err)
		})
	}
}

// A file cut short anywhere is refused.
func TestEveryTruncationIsRefused(t *testing.T) {
	file, err := os.ReadFile("testdata/mixed.safetensors")
	require.NoError(t, err)
	for n := range file {
		_, err := parse(bytes.NewReader(file[:n]), int64(n))
		require.Error(t, err, "the first %d bytes of %d", n, len(file))
	}
}

func TestALyingHeaderAllocatesNothing(t *testing.T) {
	file := raw(`{"w":{"dtype":"F64","shape":[1000000000000],"data_offsets":[0,8000000000000]}}`, 8)
	short := binary.LittleEndian.AppendUint64(nil, maxHeader)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		_, err := parse(bytes.NewReader(file), int64(len(file)))
		require.Error(t, err)
		_, err = parse(bytes.NewReader(short), int64(len(short)))
		require.Error(t, err)
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
}

// FuzzReadHeader: whatever the bytes, an accepted header covers them exactly, and what we write of it is
// read back as the same.
func FuzzReadHeader(f *testing.F) {
	golden, err := os.ReadFile("testdata/mixed.safetensors")
	require.NoError(f, err)
	f.Add(golden)
	f.Add(raw(one, 8))
	f.Add(raw(two("[0,2]", "[2,4]"), 4))
	f.Add(raw(`{"__metadata__":{"a":"b"}}  `, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := parse(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			return
		}
		end := int64(lengthBytes) + int64(binary.LittleEndian.Uint64(b))
		specs := []Spec{}
		for _, info := range file.Infos {
			require.Equal(t, end, info.Begin)
			size, err := byteSize(info.DType, info.Shape)
			require.NoError(t, err)
			require.Equal(t, size, info.Size())
			end = info.End
			specs = append(specs, Spec{info.Name, info.DType, info.Shape})
		}
		require.EqualValues(t, len(b), end)
		header, err := encodeHeader(fileOrder(specs), file.Metadata)
		require.NoError(t, err)
		again, err := parse(bytes.NewReader(append(header, make([]byte, end)...)), int64(len(header))+dataSize(file))
		require.NoError(t, err)
		require.Len(t, again.Infos, len(file.Infos))
	})
}

func dataSize(f *File) (n int64) {
	for _, info := range f.Infos {
		n += info.Size()
	}
	return n
}

func BenchmarkReadHeader(b *testing.B) {
	specs := []Spec{}
	for i := range 1000 {
		specs = append(specs, Spec{"model.layers." + strings.Repeat("0", i%7) + string(rune('a'+i%26)) + strings.Repeat("x", i/26), "BF16", []int{0, 4096}})
	}
	header, err := encodeHeader(fileOrder(specs), nil)
	require.NoError(b, err)
	b.SetBytes(int64(len(header)))
	for b.Loop() {
		if _, err := parse(bytes.NewReader(header), int64(len(header))); err != nil {
			b.Fatal(err)
		}
	}
}
