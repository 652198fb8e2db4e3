package options

// Text to typed value and back, with the `check` and `enum` tags applied. One parser serves files, --set and
// flags, so a value is legal in all three or in none.

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

var durationType = reflect.TypeFor[time.Duration]()

// typeName is what help and messages call a type.
func typeName(t reflect.Type) string {
	switch {
	case t == durationType:
		return "duration"
	case t.Kind() == reflect.Slice:
		return typeName(t.Elem()) + "s"
	case t.Kind() == reflect.Float64:
		return "number"
	case t.Kind() == reflect.Bool:
		return "bool"
	case t.Kind() == reflect.String:
		return "text"
	default:
		return "integer"
	}
}

// supported reports whether a field of type t can be an option.
func supported(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint64, reflect.Float64, reflect.String:
		return true
	case reflect.Slice:
		return t.Elem().Kind() != reflect.Slice && t.Elem() != durationType && supported(t.Elem())
	default:
		return false
	}
}

// parseScalar reads text as a value of type t; the error says what was wanted.
func parseScalar(t reflect.Type, text string) (reflect.Value, error) {
	v := reflect.New(t).Elem()
	switch {
	case t == durationType:
		d, err := time.ParseDuration(text)
		if err != nil {
			return v, fmt.Errorf("%q is not a duration; write for example 90s, 15m or 2h30m", text)
		}
		v.SetInt(int64(d))
	case t.Kind() == reflect.String:
		v.SetString(text)
	case t.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return v, fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(text == "true")
	case t.Kind() == reflect.Float64:
		f, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return v, fmt.Errorf("%q is not a finite number", text)
		}
		v.SetFloat(f)
	case t.Kind() == reflect.Uint64:
		return parseUint(v, text)
	default:
		return parseInt(v, text)
	}
	return v, nil
}

func parseInt(v reflect.Value, text string) (reflect.Value, error) {
	digits := strings.ReplaceAll(text, "_", "")
	i, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		// 1e6 is how people write a million; it is accepted when it is a whole number held exactly.
		f, ferr := strconv.ParseFloat(digits, 64)
		if ferr != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return v, fmt.Errorf("%q is not an integer", text)
		}
		i = int64(f)
	}
	v.SetInt(i)
	return v, nil
}

func parseUint(v reflect.Value, text string) (reflect.Value, error) {
	u, err := strconv.ParseUint(strings.ReplaceAll(text, "_", ""), 10, 64)
	if err != nil {
		return v, fmt.Errorf("%q is not an integer from 0 to %d", text, uint64(math.MaxUint64))
	}
	v.SetUint(u)
	return v, nil
}

// formatScalar writes v so that parseScalar reads the same value back.
func formatScalar(v reflect.Value) string {
	switch {
	case v.Type() == durationType:
		return time.Duration(v.Int()).String()
	case v.Kind() == reflect.String:
		return v.String()
	case v.Kind() == reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case v.Kind() == reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case v.Kind() == reflect.Uint64:
		return strconv.FormatUint(v.Uint(), 10)
	default:
		return strconv.FormatInt(v.Int(), 10)
	}
}

// splitList cuts the text form of a list, "a,b" or "[a, b]", at its commas.
func splitList(text string) []string {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		text = strings.TrimSpace(text[1 : len(text)-1])
	}
	if text == "" {
		return nil
	}
	parts := strings.Split(text, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// bound is one comparison of a check tag, such as ">0" or "<=1".
type bound struct {
	op    string
	limit float64
}

// parseChecks reads a check tag: comparisons joined by commas, all of which must hold.
func parseChecks(tag string) ([]bound, error) {
	var out []bound
	for _, part := range splitList(tag) {
		op := strings.TrimRight(part, "0123456789.eE+-")
		limit, err := strconv.ParseFloat(strings.TrimPrefix(part, op), 64)
		if err != nil || !strings.Contains(" > >= < <= ", " "+op+" ") {
			return nil, fmt.Errorf("check %q is not like >0 or >=0,<1", tag)
		}
		out = append(out, bound{op, limit})
	}
	return out, nil
}

func (b bound) holds(x float64) bool {
	switch b.op {
	case ">":
		return x > b.limit
	case ">=":
		return x >= b.limit
	case "<":
		return x < b.limit
	default:
		return x <= b.limit
	}
}

// number is v as the checks see it; durations count in seconds.
func number(v reflect.Value) float64 {
	switch {
	case v.Type() == durationType:
		return time.Duration(v.Int()).Seconds()
	case v.Kind() == reflect.Float64:
		return v.Float()
	case v.Kind() == reflect.Uint64:
		return float64(v.Uint())
	default:
		return float64(v.Int())
	}
}
