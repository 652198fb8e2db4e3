// What the Jinja engine needs to behave as the environment of transformers: its two functions, and errors that
// are one line. The engine, ardanlabs/jinja, was made for chat templates: it trims blocks as transformers does,
// keeps the order of dictionaries and knows {% generation %}. It reads no files, so no template can.
package data

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ardanlabs/jinja"
)

// compile parses a template.
func compile(source string) (program *jinja.Template, err error) {
	defer recoverAs(&err)
	return jinja.Compile(source)
}

// execute renders a compiled template; now is the clock behind strftime_now. What the template raises with
// raise_exception is the error, in its own words.
func execute(program *jinja.Template, vars map[string]jinja.Value, now func() time.Time) (text string, err error) {
	defer recoverAs(&err)
	raised := ""
	vars["raise_exception"] = function("raise_exception", func(message string) (string, error) {
		raised = message
		return "", errors.New(message)
	})
	vars["strftime_now"] = function("strftime_now", func(format string) (string, error) {
		return strftime(now(), format)
	})
	text, err = program.RenderValues(vars)
	if err != nil && raised != "" {
		return "", errors.New(oneLine(raised))
	}
	return text, err
}

// recoverAs turns a panic of the engine, which a hostile template may provoke, into an error.
func recoverAs(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the template engine failed: %v", p)
	}
}

// function makes a Go function of one string callable from a template.
func function(name string, fn func(string) (string, error)) jinja.Value {
	return jinja.NewCallable(name, func(args []jinja.Value, _ map[string]jinja.Value) (jinja.Value, error) {
		if len(args) != 1 || !args[0].IsString() {
			return jinja.None(), fmt.Errorf("%s takes one string", name)
		}
		out, err := fn(args[0].AsString())
		return jinja.NewString(out), err
	})
}

func oneLine(text string) string { return strings.ReplaceAll(text, "\n", " ") }

// strftimeVerbs maps the verbs templates use to Go layouts; a "-" after the "%" drops leading zeros.
var strftimeVerbs = map[string]string{
	"d": "02", "-d": "2", "e": "_2", "b": "Jan", "B": "January", "m": "01", "-m": "1", "Y": "2006", "y": "06",
	"A": "Monday", "a": "Mon", "j": "002", "F": "2006-01-02",
	"H": "15", "I": "03", "-I": "3", "M": "04", "S": "05", "p": "PM", "T": "15:04:05", "%": "%",
}

// strftime formats a time with C's verbs.
func strftime(now time.Time, format string) (string, error) {
	var b strings.Builder
	for format != "" {
		plain, rest, found := strings.Cut(format, "%")
		b.WriteString(plain)
		if !found {
			break
		}
		verb := rest[:min(1, len(rest))]
		if verb == "-" {
			verb = rest[:min(2, len(rest))]
		}
		layout, known := strftimeVerbs[verb]
		if !known {
			return "", fmt.Errorf("strftime_now: verb %%%s is not supported", verb)
		}
		b.WriteString(now.Format(layout))
		format = rest[len(verb):]
	}
	return b.String(), nil
}
