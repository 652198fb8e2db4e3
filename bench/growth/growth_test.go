package main

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The exponent of an exact power is found, and the upper fit forgets a fixed cost sooner than the whole.
func TestExponent(t *testing.T) {
	var xs, square, fixed []float64
	for x := 1.0; x <= 1024; x *= 2 {
		xs, square, fixed = append(xs, x), append(square, 3*x*x), append(fixed, 50+x)
	}
	require.InDelta(t, 2, exponent(xs, square), 1e-12)
	all, upper := fits(xs, fixed)
	require.Less(t, all, 0.5)
	require.Greater(t, upper, 0.8)
}

// The page keeps what people wrote; table and figures stand between the marks, however often they are written.
func TestPage(t *testing.T) {
	dir := t.TempDir()
	page := filepath.Join(dir, "performance.md")
	require.NoError(t, os.WriteFile(page, []byte("before\n"+begin+"\nold\n"+end+"\nafter\n"), 0o644))
	m := measured{Name: "rows"}
	for _, x := range []float64{10, 100, 1000} {
		m.Points = append(m.Points, sample{X: x, Seconds: x / 1000, Bytes: 2e7 * math.Sqrt(x)})
	}
	for range 2 {
		require.NoError(t, writePage(page, []measured{m}))
	}
	raw, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Regexp(t, `^before\n<!--[\s\S]*\| rows in the file \| 10 \| 1000 \|.*0\.01 s → 1 s \| 1\.00 \| 1\.00 \| 63 → 632 MB \|[\s\S]*end of growth -->\nafter\n$`, string(raw))
	require.NotContains(t, string(raw), "old")
	for _, kind := range []string{"time", "memory"} {
		svg, err := os.ReadFile(filepath.Join(dir, "growth", "rows-"+kind+".svg"))
		require.NoError(t, err)
		require.Contains(t, string(svg), "<svg")
	}
	require.NoError(t, os.WriteFile(page, []byte("no marks"), 0o644))
	require.ErrorContains(t, writePage(page, []measured{m}), "restore them")
}

// The smallest point of a step's curve and of each curve over rows can be measured.
func TestSmallPoints(t *testing.T) {
	seconds, err := trainStep(shape{batch: 1, time: 8, vocab: 64, layers: 1}, 1)
	require.NoError(t, err)
	require.Positive(t, seconds)
	for _, cost := range []func(n, threads int) (float64, error){streamRows, keepRows} {
		seconds, err := cost(10, 1)
		require.NoError(t, err)
		require.Positive(t, seconds)
	}
}
