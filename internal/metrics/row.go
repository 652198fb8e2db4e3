// A row of metrics.jsonl and its JSON form. JSON has no NaN: a value that is not finite is written as
// null and named under "nonfinite", so that the file stays JSON for every reader and nothing is lost.

package metrics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"salsa/internal/fault"
)

// Reserved keys of a row; a metric may not use them.
const (
	keyStep      = "step"
	keyNonFinite = "nonfinite"
)

// Row is one line of metrics.jsonl.
type Row struct {
	Step   int
	Values map[string]float64 // metric name to value; NaN and ±Inf survive the round trip
}

// MarshalJSON writes one flat object with sorted keys.
func (r Row) MarshalJSON() ([]byte, error) {
	flat := make(map[string]any, len(r.Values)+1)
	odd := map[string]string{}
	for key, v := range r.Values {
		if key == keyStep || key == keyNonFinite {
			return nil, fmt.Errorf("metric name %q is reserved for the row itself; rename the metric", key)
		}
		if name := nonFinite(v); name != "" {
			flat[key], odd[key] = nil, name
			continue
		}
		flat[key] = v
	}
	flat[keyStep] = r.Step
	if len(odd) > 0 {
		flat[keyNonFinite] = odd
	}
	return json.Marshal(flat) // sorts the keys of maps
}

// UnmarshalJSON reads a row back. Members that are neither numbers nor noted as non-finite are refused.
func (r *Row) UnmarshalJSON(line []byte) error {
	var flat map[string]json.RawMessage
	if err := json.Unmarshal(line, &flat); err != nil {
		return err
	}
	step, ok := flat[keyStep]
	if !ok {
		return errors.New(`no "step"`)
	}
	if err := json.Unmarshal(step, &r.Step); err != nil {
		return fmt.Errorf("step: %w", err)
	}
	var odd map[string]string
	if raw, ok := flat[keyNonFinite]; ok {
		if err := json.Unmarshal(raw, &odd); err != nil {
			return fmt.Errorf("%s: %w", keyNonFinite, err)
		}
	}
	r.Values = make(map[string]float64, len(flat))
	for key, raw := range flat {
		if key == keyStep || key == keyNonFinite {
			continue
		}
		v, err := parseValue(raw, odd[key])
		if err != nil {
			return fmt.Errorf("metric %q: %w", key, err)
		}
		r.Values[key] = v
	}
	return nil
}

// nonFinite names a value that JSON cannot hold; "" for all others.
func nonFinite(v float64) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	}
	return ""
}

func parseValue(raw json.RawMessage, note string) (float64, error) {
	switch note {
	case "NaN":
		return math.NaN(), nil
	case "+Inf":
		return math.Inf(1), nil
	case "-Inf":
		return math.Inf(-1), nil
	}
	if string(raw) == "null" {
		return 0, fmt.Errorf("null without a note under %q", keyNonFinite)
	}
	var v float64
	err := json.Unmarshal(raw, &v)
	return v, err
}

// Read returns the rows of a metrics.jsonl in file order. A last line without its newline is a write
// that was cut off, perhaps by a run still going, and is left out; any other bad line is an input error.
func Read(path string) ([]Row, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Inputf("metrics: %w; give a run folder's metrics.jsonl", err)
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("metrics: read %s: %w", path, err)
	}
	var rows []Row
	_, err = eachLine(path, content, func(_ []byte, row Row) { rows = append(rows, row) })
	return rows, err
}

// eachLine visits the complete lines of a metrics.jsonl and returns how many bytes they take.
func eachLine(path string, content []byte, visit func(line []byte, row Row)) (int, error) {
	done := 0
	for number := 1; ; number++ {
		end := bytes.IndexByte(content[done:], '\n')
		if end < 0 {
			return done, nil
		}
		line := content[done : done+end+1]
		var row Row
		if err := json.Unmarshal(line, &row); err != nil {
			return done, fault.Inputf("%s:%d: not a metrics row (%w); delete the line or start with a new --out", path, number, err)
		}
		visit(line, row)
		done += end + 1
	}
}
