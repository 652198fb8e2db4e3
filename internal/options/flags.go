package options

// The command-line side: flags that remember what was typed and are applied last, over --config and --set.

import (
	"errors"
	"slices"
	"strings"

	"salsa/internal/fault"

	"github.com/spf13/pflag"
)

// Binding ties a Config to the flags of one command.
type Binding struct {
	*Config
	configFile string
	sets       []string
	flags      []*flagValue
}

// Bind registers a flag for every option of the struct that ptr points to, and --config and --set. Once the flags
// are parsed, Resolve fills the struct. The keys in waived are not required, whatever their tags say.
func Bind(fs *pflag.FlagSet, ptr any, waived ...string) *Binding {
	b := &Binding{Config: Of(ptr)}
	for _, key := range waived {
		b.byKey[key].required = false
	}
	fs.SortFlags = false
	for _, f := range b.fields {
		if f.flag == "" {
			continue
		}
		v := &flagValue{field: f}
		b.flags = append(b.flags, v)
		help := f.help
		if f.required {
			help += " (required)"
		}
		flag := fs.VarPF(v, f.flag, f.short, help)
		flag.Hidden = f.hidden
		flag.Annotations = map[string][]string{groupKey: {f.group}}
		if f.value.Type().String() == "bool" {
			flag.NoOptDefVal = "true"
		}
	}
	fs.Var(&configValue{b}, "config", "YAML file of settings; --set and flags win over it")
	fs.StringArrayVar(&b.sets, "set", nil, "one setting as `KEY=VALUE`; may be repeated; flags win over it")
	return b
}

// groupKey is the flag annotation that holds the heading.
const groupKey = "salsa_group"

// Usages returns the help text of fs, its flags under their groups' headings in the order of declaration; those
// without a group come first.
func Usages(fs *pflag.FlagSet) string {
	var titles []string
	groups := map[string]*pflag.FlagSet{}
	fs.VisitAll(func(f *pflag.Flag) {
		title := "Flags"
		if names := f.Annotations[groupKey]; len(names) > 0 && names[0] != "" {
			title = names[0]
		}
		if groups[title] == nil {
			groups[title] = pflag.NewFlagSet(title, pflag.ContinueOnError)
			groups[title].SortFlags = false
			titles = append(titles, title)
		}
		shown := *f
		if f.Value.Type() == "bool" {
			shown.Value = switchless{f.Value}
		}
		groups[title].AddFlag(&shown)
	})
	var out strings.Builder
	slices.SortStableFunc(titles, func(a, b string) int { return order(a) - order(b) })
	for _, title := range titles {
		out.WriteString(title + ":\n" + groups[title].FlagUsages() + "\n")
	}
	return strings.TrimRight(out.String(), "\n")
}

// switchless hides from pflag that a flag is a switch, so that its help line has no "[=true|false]".
type switchless struct{ pflag.Value }

// order puts the flags without a group first.
func order(title string) int {
	if title == "Flags" {
		return 0
	}
	return 1
}

// Bound returns the Binding that Bind made on fs, or nil.
func Bound(fs *pflag.FlagSet) *Binding {
	if flag := fs.Lookup("config"); flag != nil {
		if v, ok := flag.Value.(*configValue); ok {
			return v.binding
		}
	}
	return nil
}

// Resolve fills the struct as Fill does, then checks required keys and the struct's own Validate. All failures are
// fault errors of one line.
func (b *Binding) Resolve() error {
	if err := b.Fill(); err != nil {
		return err
	}
	if missing := b.Missing(); len(missing) > 0 {
		f := b.byKey[missing[0]]
		return fault.Inputf("--%s is required: %s; give the flag, or %s: in the --config file", f.flag, f.help, f.key)
	}
	if err := b.Validate(); err != nil {
		return fault.Inputf("%w", err)
	}
	return nil
}

// Choices lists, by flag name, the values of the options that allow only certain ones.
func (b *Binding) Choices() map[string][]string {
	out := map[string][]string{}
	for _, v := range b.flags {
		if len(v.field.enum) > 0 {
			out[v.field.flag] = v.field.enum
		}
	}
	return out
}

// Fill applies --config, then --set, then the flags that were given.
func (b *Binding) Fill() error {
	if b.configFile != "" {
		node, err := ReadYAML(b.configFile)
		if err != nil {
			return fault.Inputf("--config %w", err)
		}
		if err := b.Apply(node); err != nil {
			return err
		}
	}
	for _, set := range b.sets {
		key, text, ok := strings.Cut(set, "=")
		if !ok {
			return fault.Inputf("--set %s: want key=value", set)
		}
		if err := b.Set(strings.TrimSpace(key), text, "--set "+set); err != nil {
			return err
		}
	}
	for _, v := range b.flags {
		if v.given == nil {
			continue
		}
		if err := v.field.store(v.given, "--"+v.field.flag, "--"+v.field.flag); err != nil {
			return err
		}
	}
	return nil
}

// FlagError rewrites pflag's parse errors as fault errors with a suggestion; use it as cobra's flag error function.
func FlagError(fs *pflag.FlagSet, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case err == nil || errors.Is(err, pflag.ErrHelp):
		return err
	case errors.As(err, &invalid):
		return fault.Inputf("--%s: %w", invalid.GetFlag().Name, errors.Unwrap(invalid))
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		return fault.Inputf("unknown flag --%s%s", unknown.GetSpecifiedName(), flagHint(fs, unknown.GetSpecifiedName()))
	default:
		return fault.Inputf("%w", err)
	}
}

func flagHint(fs *pflag.FlagSet, name string) string {
	var names []string
	fs.VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	if hint := DidYouMean("--"+name, names); hint != "" {
		return hint
	}
	return "; --help lists the flags"
}

// flagValue is a pflag.Value that checks at once but leaves the struct alone until Resolve.
type flagValue struct {
	field *field
	given []string // nil until the flag is seen
}

// Set checks text and remembers it; a list flag given again adds to the list.
func (v *flagValue) Set(text string) error {
	texts := v.field.texts(text)
	if _, err := v.field.parse(texts); err != nil {
		return err
	}
	if !v.field.isList() {
		v.given = texts
		return nil
	}
	if v.given == nil {
		v.given = []string{}
	}
	v.given = append(v.given, texts...)
	return nil
}

// String returns the default for help.
func (v *flagValue) String() string {
	if v.field == nil { // pflag asks a zero flagValue when it compares defaults
		return ""
	}
	return v.field.text()
}

// Type returns the placeholder for help.
func (v *flagValue) Type() string { return v.field.typeLabel() }

// configValue holds --config and leads from a flag set back to its Binding.
type configValue struct{ binding *Binding }

// Set keeps the file name; the file is read by Resolve.
func (v *configValue) Set(text string) error {
	v.binding.configFile = text
	return nil
}

// String returns the file name given, or "".
func (v *configValue) String() string {
	if v.binding == nil {
		return ""
	}
	return v.binding.configFile
}

// Type returns the placeholder for help.
func (v *configValue) Type() string { return "F.yaml" }
