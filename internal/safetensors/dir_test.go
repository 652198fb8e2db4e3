package safetensors

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOpenDirRefuses(t *testing.T) {
	const first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
	edit := func(t *testing.T, dir, old, new string) {
		path := filepath.Join(dir, IndexName)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Contains(t, string(text), old)
		require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o644))
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string)
		want   []string
	}{
		"missing shard": {func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, second))) },
			[]string{IndexName, second, "missing"}},
		"damaged shard": {func(t *testing.T, dir string) { require.NoError(t, os.Truncate(filepath.Join(dir, second), 90)) },
			[]string{second}},
		"listed, not in shard": {func(t *testing.T, dir string) { edit(t, dir, `"norm"`, `"aorm":"`+first+`","norm"`) },
			[]string{IndexName, `"aorm"`, first, "lacks"}},
		"in shard, not listed": {func(t *testing.T, dir string) { edit(t, dir, `"emb"`, `"embed"`) },
			[]string{first, `"emb"`, "does not list"}},
		"in another shard": {func(t *testing.T, dir string) { edit(t, dir, `"norm": "`+second, `"norm": "`+first) },
			[]string{`"norm"`, second, "puts into " + first}},
		"parent path":   {func(t *testing.T, dir string) { edit(t, dir, second, "../sharded/"+second) }, []string{IndexName, "../sharded"}},
		"absolute path": {func(t *testing.T, dir string) { edit(t, dir, second, "/etc/model.safetensors") }, []string{IndexName, "/etc"}},
		"backslash":     {func(t *testing.T, dir string) { edit(t, dir, second, `..\\x.safetensors`) }, []string{IndexName, `..\\x`}},
		"other file":    {func(t *testing.T, dir string) { edit(t, dir, second, "config.json") }, []string{IndexName, "config.json"}},
		"tensor twice":  {func(t *testing.T, dir string) { edit(t, dir, `"norm"`, `"out": "`+first+`", "norm"`) }, []string{IndexName, `"out"`, "twice"}},
		"no map":        {func(t *testing.T, dir string) { edit(t, dir, "weight_map", "weightmap") }, []string{IndexName, "weight_map"}},
		"map of lists":  {func(t *testing.T, dir string) { edit(t, dir, `"`+second+`"`, `[]`) }, []string{IndexName, "string"}},
		"no JSON":       {func(t *testing.T, dir string) { edit(t, dir, "{", "[") }, []string{IndexName, "JSON"}},
		"both layouts": {func(t *testing.T, dir string) {
			require.NoError(t, os.Rename(filepath.Join(dir, first), filepath.Join(dir, SingleName)))
		}, []string{SingleName, IndexName, "delete"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/sharded")))
			_, err := OpenDir(dir)
			require.NoError(t, err)
			c.damage(t, dir)
			_, err = OpenDir(dir)
			requireInput(t, err, append(c.want, dir)...)
		})
	}
}

func TestOpenDirWithoutWeights(t *testing.T) {
	for file, want := range map[string]string{
		"README.md": "Hugging Face model", "pytorch_model.bin": "save_pretrained", "adapter_model.safetensors": "LoRA adapter",
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), nil, 0o644))
		_, err := OpenDir(dir)
		requireInput(t, err, dir, want)
	}
	_, err := OpenDir(filepath.Join(t.TempDir(), "absent"))
	requireInput(t, err, "absent")
}

// An index whose only shard is model.safetensors is the same model in other words.
func TestIndexOfASingleFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, WriteDir(dir, []Spec{{"w", "U8", []int{1}}}, 0, nil, func(string) ([]byte, error) { return []byte{7}, nil }))
	require.NoError(t, os.WriteFile(filepath.Join(dir, IndexName), []byte(`{"weight_map":{"w":"model.safetensors"}}`), 0o644))
	d, err := OpenDir(dir)
	require.NoError(t, err)
	require.Equal(t, []string{"w"}, d.Names())
}

func TestReadAfterTheFileChanged(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, WriteDir(dir, []Spec{{"w", "U8", []int{9}}}, 0, nil, func(string) ([]byte, error) { return make([]byte, 9), nil }))
	d, err := OpenDir(dir)
	require.NoError(t, err)
	file, info, _ := d.Lookup("w")
	require.NoError(t, os.Truncate(file.Path, 20))
	_, err = file.Read(info, nil)
	requireInput(t, err, file.Path, `"w"`)
	require.NoError(t, os.Remove(file.Path))
	_, err = file.Read(info, nil)
	requireInput(t, err, file.Path)
}
