package recipe

import (
	"strings"
	"testing"

	"salsa/internal/fault"
)

// FuzzLoad holds that no recipe text crashes Load, and that every refusal is one line of kind input.
func FuzzLoad(f *testing.F) {
	f.Add(tiny)
	f.Add(chain)
	f.Add("name: r\nstages: [{name: a, kind: sft, seeds: [1], with: {<<: &x {model: '${stage:a}'}}}]")
	f.Add("name: r\nvars: {a: {default: [1, '${a}']}}\nstages: [*x]")
	f.Fuzz(func(t *testing.T, text string) {
		_, err := Load("f.yaml", []byte(text), Params{Vars: []string{"model=m"}, Kinds: testKinds,
			Env: func(string) (string, bool) { return "", false }})
		if err == nil {
			return
		}
		if fault.ExitCode(err) != fault.ExitInput {
			t.Fatalf("not an input error: %v", err)
		}
		if !strings.Contains(text, "\n") && strings.Contains(err.Error(), "\n") {
			t.Fatalf("more than one line: %q", err)
		}
	})
}
