package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"salsa/internal/fault"
)

// mixedSpecs and mixedData are the tensors of testdata/golden.py, in another order.
func mixedSpecs() []Spec {
	return []Spec{
		{`l."quoted" <&> é`, "F32", []int{5}}, {"k.bf16", "BF16", []int{2, 3}}, {"j.i64", "I64", []int{1, 1, 3}},
		{"i.f64", "F64", []int{0, 4}}, {"h.f32", "F32", nil}, {"g.i32", "I32", []int{5}}, {"f.bf16", "BF16", []int{2, 3}},
		{"e.f16", "F16", []int{1, 1, 3}}, {"d.i16", "I16", []int{0, 4}}, {"c.i8", "I8", nil},
		{"b.u8", "U8", []int{5}}, {"a.bool", "BOOL", []int{2, 3}},
	}
}

func mixedData(name string) ([]byte, error) {
	for _, s := range mixedSpecs() {
		if s.Name != name {
			continue
		}
		n := 1
		for _, d := range s.Shape {
			n *= d
		}
		var out []byte
		for i := range n {
			out = appendElement(out, s.DType, (7*i+int(name[0]-'a'))%11)
		}
		return out, nil
	}
	return nil, errors.New("no such tensor")
}

// appendElement encodes a small whole number.
func appendElement(out []byte, dtype string, v int) []byte {
	le := binary.LittleEndian
	switch dtype {
	case "BOOL":
		return append(out, byte(v%2))
	case "U8", "I8":
		return append(out, byte(v))
	case "I16":
		return le.AppendUint16(out, uint16(v))
	case "F16": // 0..10 have few bits: rebias the float32's exponent and cut its mantissa
		if v == 0 {
			return append(out, 0, 0)
		}
		f := math.Float32bits(float32(v))
		return le.AppendUint16(out, uint16(f>>13-(127-15)<<10))
	case "BF16":
		return le.AppendUint16(out, uint16(math.Float32bits(float32(v))>>16))
	case "I32":
		return le.AppendUint32(out, uint32(v))
	case "F32":
		return le.AppendUint32(out, math.Float32bits(float32(v)))
	case "F64":
		return le.AppendUint64(out, math.Float64bits(float64(v)))
	default:
		return le.AppendUint64(out, uint64(v))
	}
}

func TestWritesTheBytesOfTheReferenceImplementation(t *testing.T) {
	want, err := os.ReadFile("testdata/mixed.safetensors")
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, WriteDir(dir, mixedSpecs(), 0, nil, mixedData))
	got, err := os.ReadFile(filepath.Join(dir, SingleName))
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "want %q\n got %q", want, got)
}

func TestReadsTheReferenceImplementationsFiles(t *testing.T) {
	file, err := ReadHeader("testdata/mixed.safetensors")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"format": "pt"}, file.Metadata)
	require.Len(t, file.Infos, len(mixedSpecs()))
	var buf []byte
	for _, info := range file.Infos {
		want, err := mixedData(info.Name)
		require.NoError(t, err)
		buf, err = file.Read(info, buf)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, buf), info.Name)
	}

	d, err := OpenDir("testdata/sharded")
	require.NoError(t, err)
	require.Equal(t, []string{"emb", "norm", "out"}, d.Names())
	in, info, ok := d.Lookup("out")
	require.True(t, ok)
	require.Equal(t, "BF16", info.DType)
	require.Equal(t, []int{4}, info.Shape)
	raw, err := in.Read(info, nil)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 0, 0x80, 0x3f, 0, 0x40, 0x40, 0x40}, raw) // 0 1 2 3
	_, _, ok = d.Lookup("absent")
	require.False(t, ok)
}

// TestPythonReads lets the reference implementation read single and split folders.
func TestPythonReads(t *testing.T) {
	python := os.Getenv("SALSA_PYTHON")
	if python == "" {
		t.Skip("SALSA_PYTHON does not name a python with safetensors and torch")
	}
	for _, limit := range []int64{0, 1, 30, 60} {
		dir := t.TempDir()
		require.NoError(t, WriteDir(dir, mixedSpecs(), limit, nil, mixedData))
		out, err := exec.Command(python, "testdata/golden.py", "check", dir).CombinedOutput()
		require.NoError(t, err, string(out))
		t.Logf("limit %d: %s", limit, out)
	}
}

func TestShards(t *testing.T) {
	specs := []Spec{
		{"a", "F32", []int{4}}, {"b", "F32", []int{4}}, // 16 + 16 = 32 bytes: full
		{"c", "F32", []int{100}}, // larger than a shard
		{"d", "U8", []int{1}}, {"e", "F32", []int{2}},
	}
	data := func(name string) ([]byte, error) {
		n := map[string]int{"a": 16, "b": 16, "c": 400, "d": 1, "e": 8}[name]
		return bytes.Repeat([]byte(name), n), nil
	}
	dir := t.TempDir()
	require.NoError(t, WriteDir(dir, specs, 32, map[string]string{"by": "test"}, data))
	require.Equal(t, []string{"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
		"model-00003-of-00003.safetensors", IndexName}, listing(t, dir))
	d, err := OpenDir(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b", "c", "d", "e"}, d.Names())
	require.Equal(t, map[string]string{"by": "test", "format": "pt"}, d.Files[0].Metadata)
	for i, want := range []string{"ab", "c", "ed"} { // e first: larger elements come first
		got := ""
		for _, info := range d.Files[i].Infos {
			got += info.Name
			raw, err := d.Files[i].Read(info, nil)
			require.NoError(t, err)
			require.Equal(t, bytes.Repeat([]byte(info.Name), int(info.Size())), raw)
		}
		require.Equal(t, want, got)
	}
	var index map[string]any
	raw, err := os.ReadFile(filepath.Join(dir, IndexName))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &index))
	require.Equal(t, map[string]any{"total_size": 441.0}, index["metadata"])

	// Rewriting in another split leaves nothing of the old one.
	require.NoError(t, WriteDir(dir, specs, 440, nil, data))
	require.Equal(t, []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", IndexName}, listing(t, dir))
	require.NoError(t, WriteDir(dir, specs, 441, nil, data))
	require.Equal(t, []string{SingleName}, listing(t, dir))
	require.NoError(t, WriteDir(dir, specs, 32, nil, data))
	require.Len(t, listing(t, dir), 4)
	_, err = OpenDir(dir)
	require.NoError(t, err)
}

func TestAlignment(t *testing.T) {
	dir := t.TempDir()
	for n := range 9 {
		name := strings.Repeat("n", n)
		require.NoError(t, WriteDir(dir, []Spec{{name, "F64", []int{1}}}, 0, nil, func(string) ([]byte, error) { return make([]byte, 8), nil }))
		file, err := ReadHeader(filepath.Join(dir, SingleName))
		require.NoError(t, err)
		require.Zero(t, file.Infos[0].Begin%8)
	}
}

func TestWriteRefusals(t *testing.T) {
	good := Spec{"w", "F32", []int{1}}
	give := func(n int) func(string) ([]byte, error) {
		return func(string) ([]byte, error) { return make([]byte, n), nil }
	}
	for name, c := range map[string]struct {
		specs []Spec
		data  func(string) ([]byte, error)
		want  []string
	}{
		"twice":    {[]Spec{good, good}, give(4), []string{`"w"`, "twice"}},
		"reserved": {[]Spec{{metadataKey, "F32", nil}}, give(4), []string{metadataKey, "reserved"}},
		"dtype":    {[]Spec{{"w", "F7", nil}}, give(4), []string{`"w"`, `"F7"`, "BF16"}},
		"negative": {[]Spec{{"w", "F32", []int{-1}}}, give(4), []string{`"w"`, "negative"}},
		"huge":     {[]Spec{{"w", "F32", []int{1 << 40, 1 << 40}}}, give(4), []string{`"w"`, "larger"}},
		"utf8":     {[]Spec{{"\xff", "F32", nil}}, give(4), []string{"UTF-8"}},
		"short":    {[]Spec{good}, give(3), []string{`"w"`, "4 bytes", "3 were given", SingleName}},
		"data": {[]Spec{good}, func(string) ([]byte, error) { return nil, errors.New("gone") },
			[]string{`"w"`, "gone", SingleName}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, WriteDir(dir, []Spec{good}, 0, nil, give(4)))
			err := WriteDir(dir, c.specs, 0, nil, c.data)
			requireMessage(t, err, append(c.want, dir)...)
			require.Equal(t, []string{SingleName}, listing(t, dir), "the old weights stay and nothing else does")
			_, err = OpenDir(dir)
			require.NoError(t, err)
		})
	}
	err := WriteDir("/proc/self/salsa", []Spec{good}, 0, nil, give(4))
	requireMessage(t, err, "/proc/self/salsa")
}

// requireMessage checks that err is one line with all parts in it.
func requireMessage(t *testing.T, err error, parts ...string) {
	t.Helper()
	require.Error(t, err)
	require.NotContains(t, err.Error(), "\n")
	for _, part := range parts {
		require.Contains(t, err.Error(), part)
	}
}

func requireInput(t *testing.T, err error, parts ...string) {
	t.Helper()
	requireMessage(t, err, parts...)
	require.Equal(t, fault.ExitInput, fault.ExitCode(err))
}

func listing(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
