// Package metrics records what a run measures: one JSON row per optimizer step (File), TensorBoard
// events (Events), a short line for people (Console) and a progress bar (Progress). It decides nothing:
// trainers hand it scalars that already left the device. Metric names are TRL's, timings are verl's.
package metrics

import (
	"errors"
	"slices"
	"strings"
)

// Fresh is the resume step of a run that starts anew: no earlier row is kept.
const Fresh = -1

// Logger receives the scalars of one optimizer step. Steps never go backwards; one step may be logged
// more than once. Implementations are safe for concurrent use and do not keep the map.
type Logger interface {
	Log(step int, scalars map[string]float64) error
}

// multi hands every row to each of its loggers.
type multi []Logger

// Multi returns a Logger that writes to all loggers in order, nil ones left out. A failing logger does
// not keep the row from the others; their errors come back joined.
func Multi(loggers ...Logger) Logger {
	return multi(slices.DeleteFunc(slices.Clone(loggers), func(l Logger) bool { return l == nil }))
}

// Log implements Logger.
func (m multi) Log(step int, scalars map[string]float64) error {
	var errs []error
	for _, l := range m {
		errs = append(errs, l.Log(step, scalars))
	}
	return errors.Join(errs...)
}

// timingPrefixes and timingNames list every metric that depends on the clock or on the machine's load.
var (
	timingPrefixes = []string{"timing_s/", "timing_per_token_ms/", "timing/", "perf/"}
	timingNames    = []string{"elapsed_s", "eps", "peak_rss_mb", "s_per_step", "samples_per_s", "step_time", "tokens_per_s", "wall_time"}
)

// IsTiming tells whether a metric depends on wall time or on memory pressure rather than on seed and
// data. Two runs with one seed on one machine agree to the bit on every metric that is not timing:
//
//	prefixes  timing_s/  timing_per_token_ms/  timing/  perf/
//	names     elapsed_s eps peak_rss_mb s_per_step samples_per_s step_time tokens_per_s wall_time
func IsTiming(key string) bool {
	for _, prefix := range timingPrefixes {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return slices.Contains(timingNames, key)
}

// Reproducible returns the metrics of a row that are not timing, in a new map.
func Reproducible(scalars map[string]float64) map[string]float64 {
	kept := make(map[string]float64, len(scalars))
	for key, v := range scalars {
		if !IsTiming(key) {
			kept[key] = v
		}
	}
	return kept
}

// sortedKeys returns the metric names in the order in which every writer of this package visits them.
func sortedKeys(scalars map[string]float64) []string {
	keys := make([]string, 0, len(scalars))
	for key := range scalars {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
