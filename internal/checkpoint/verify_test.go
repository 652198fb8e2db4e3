package checkpoint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"salsa/internal/checkpoint"
)

var savedFiles = []string{"config.json", "manifest.json", "model-00001-of-00002.safetensors",
	"model-00002-of-00002.safetensors", "model.safetensors.index.json", "trainer/state.json"}

// twoSteps returns a folder with the intact checkpoints step-9 and step-10.
func twoSteps(t *testing.T) string {
	t.Helper()
	parent := memoryDir(t)
	require.NoError(t, save(checkpoint.StepDir(parent, 9), "nine"))
	require.NoError(t, save(checkpoint.StepDir(parent, 10), "ten"))
	return parent
}

// TestEveryDamageIsSeen cuts, lengthens, removes and flips a bit at every byte of every file: Verify names
// the file, and LatestValid falls back to the older checkpoint and says why.
func TestEveryDamageIsSeen(t *testing.T) {
	parent := twoSteps(t)
	newest := checkpoint.StepDir(parent, 10)
	for _, name := range savedFiles {
		path := filepath.Join(newest, name)
		intact, err := os.ReadFile(path)
		require.NoError(t, err)
		damaged := [][]byte{nil, intact[:len(intact)-1], intact[:len(intact)/2], append(intact[:len(intact):len(intact)], '\n')}
		for i := range intact {
			flipped := []byte(string(intact))
			flipped[i] ^= 1 << (i % 8)
			damaged = append(damaged, flipped)
		}
		for i, bytes := range damaged {
			require.NoError(t, os.WriteFile(path, bytes, 0o644))
			err := checkpoint.Verify(newest)
			if name == checkpoint.ManifestName { // a flip in an entry's path or hash is seen at that file
				requireInput(t, err, newest)
			} else {
				requireInput(t, err, path)
			}
			if i > 4 {
				continue // once per kind of damage is enough for the rest
			}
			dir, step, skipped := checkpoint.LatestValid(parent)
			require.Equal(t, checkpoint.StepDir(parent, 9), dir)
			require.Equal(t, 9, step)
			require.Equal(t, []checkpoint.Skipped{{Dir: newest, Reason: err.Error()}}, skipped)
		}
		require.NoError(t, os.Remove(path))
		requireInput(t, checkpoint.Verify(newest), path, "missing")
		require.NoError(t, os.WriteFile(path, intact, 0o644))
		require.NoError(t, checkpoint.Verify(newest))
	}
}

func TestVerifyNamesTheFirstBadFile(t *testing.T) {
	dir := checkpoint.StepDir(twoSteps(t), 10)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "trainer", "state.json"), nil, 0o644))
	require.NoError(t, os.Remove(filepath.Join(dir, "config.json")))
	requireInput(t, checkpoint.Verify(dir), filepath.Join(dir, "config.json")+": is missing", "another checkpoint")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "config.json"), 0o755))
	requireInput(t, checkpoint.Verify(dir), "config.json", "is not a file")
	requireInput(t, checkpoint.Verify(filepath.Join(dir, "absent")), "absent", "no finished checkpoint")
}

func TestVerifyRefusesOtherManifests(t *testing.T) {
	dir := checkpoint.StepDir(twoSteps(t), 10)
	path := filepath.Join(dir, checkpoint.ManifestName)
	intact, err := os.ReadFile(path)
	require.NoError(t, err)
	for old, c := range map[string][2]string{
		`"version": 1`:  {`"version": 2`, "version 2"},
		`"config.json"`: {`"../../step-9/config.json"`, "leads out"},
	} {
		require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(intact), old, c[0], 1)), 0o644))
		requireInput(t, checkpoint.Verify(dir), dir, c[1])
	}
}

// Files that somebody adds to a checkpoint do not make it a damaged one.
func TestVerifyPassesOverOtherFiles(t *testing.T) {
	dir := checkpoint.StepDir(twoSteps(t), 10)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.md"), nil, 0o644))
	require.NoError(t, checkpoint.Verify(dir))
}

func TestLatestValid(t *testing.T) {
	parent := twoSteps(t)
	require.NoError(t, os.Mkdir(checkpoint.StepDir(parent, 11), 0o755)) // half of one from elsewhere
	require.NoError(t, os.Mkdir(filepath.Join(parent, "step-99.tmp-1-1"), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(parent, "step-0099"), 0o755))
	require.NoError(t, os.Mkdir(filepath.Join(parent, "best"), 0o755))
	dir, step, skipped := checkpoint.LatestValid(parent)
	require.Equal(t, checkpoint.StepDir(parent, 10), dir, "by number, not by name")
	require.Equal(t, 10, step)
	require.Len(t, skipped, 1)
	require.Equal(t, checkpoint.StepDir(parent, 11), skipped[0].Dir)
	require.Contains(t, skipped[0].Reason, "no finished checkpoint")

	dir, step, skipped = checkpoint.LatestValid(filepath.Join(parent, "absent"))
	require.Empty(t, dir)
	require.Zero(t, step)
	require.Empty(t, skipped)
	_, _, skipped = checkpoint.LatestValid(filepath.Join(parent, "step-9", "config.json"))
	require.Len(t, skipped, 1, "a parent that cannot be listed is told")
}

func TestPrune(t *testing.T) {
	parent := t.TempDir()
	for _, step := range []int{5, 10, 15, 20} {
		require.NoError(t, save(checkpoint.StepDir(parent, step), "v"))
	}
	require.NoError(t, os.Mkdir(filepath.Join(parent, "best"), 0o755))
	removed, err := checkpoint.Prune(parent, 0)
	require.NoError(t, err)
	require.Empty(t, removed)

	// The newest is damaged, so it does not count among the kept ones.
	require.NoError(t, os.Truncate(filepath.Join(checkpoint.StepDir(parent, 20), "config.json"), 0))
	removed, err = checkpoint.Prune(parent, 2)
	require.NoError(t, err)
	require.Equal(t, []string{checkpoint.StepDir(parent, 5)}, removed)
	require.Equal(t, []string{"best", "step-10", "step-15", "step-20"}, listing(t, parent))

	removed, err = checkpoint.Prune(filepath.Join(parent, "absent"), 1)
	require.NoError(t, err)
	require.Empty(t, removed)
}
