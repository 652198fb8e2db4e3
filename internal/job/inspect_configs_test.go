package job_test

// inspect on the configs of published models, held to what transformers declares for them. No weights are needed.

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stack is a weight that every layer has: the golden file's [shape, how many].
type stack struct {
	shape []int
	count int
}

func (s *stack) UnmarshalJSON(raw []byte) error {
	return json.Unmarshal(raw, &[]any{&s.shape, &s.count})
}

// declaredModel is what transformers declares for a config.
type declaredModel struct {
	Architecture string
	Parameters   int64
	Tensors      map[string]stack
}

// shapes returns the shape of every tensor, layer by layer.
func (d *declaredModel) shapes() map[string][]int {
	out := map[string][]int{}
	for name, s := range d.Tensors {
		for i := range s.count {
			out[strings.Replace(name, "{}", strconv.Itoa(i), 1)] = s.shape
		}
	}
	return out
}

func TestInspectPublishedConfigs(t *testing.T) {
	raw, err := os.ReadFile(testdata + "configs.golden.json")
	require.NoError(t, err)
	var golden map[string]declaredModel
	require.NoError(t, json.Unmarshal(raw, &golden))
	files, err := filepath.Glob(testdata + "configs/*.json")
	require.NoError(t, err)
	require.Len(t, files, 6)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			want := golden[name]
			require.NotEmpty(t, want.Tensors)
			dir := t.TempDir()
			copyFile(t, file, filepath.Join(dir, "config.json"))
			got := inspect(t, dir).Model
			assert.False(t, got.HasWeights)
			assert.Equal(t, want.Architecture, got.Architecture)
			assert.Equal(t, want.Parameters, got.Parameters)
			shapes, sum := map[string][]int{}, int64(0)
			for _, tensor := range got.Tensors {
				assert.NotContains(t, shapes, tensor.Name)
				shapes[tensor.Name] = tensor.Shape
				elements := int64(1)
				for _, n := range tensor.Shape {
					elements *= int64(n)
				}
				sum += elements
			}
			assert.Equal(t, want.shapes(), shapes)
			assert.Equal(t, want.Parameters, sum)
		})
	}
}
