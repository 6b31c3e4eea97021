package config

import (
	"fmt"
	"strings"
)

// Example returns the commented dunlin.example.yaml: every setting with its
// meaning, its flag, its environment variable and its default.
func Example() string {
	var b strings.Builder
	b.WriteString(`# Dunlin's settings, each with its default. A file like this one is given with
# dunlin serve --config FILE. Precedence: flags, then environment, then file.
# This text is generated from the code: go test ./config -run TestExample -update
`)
	group := ""
	for _, s := range settings() {
		indent, name := "", s.key
		if outer, inner, nested := strings.Cut(s.key, "."); nested {
			indent, name = "  ", inner
			if outer != group {
				fmt.Fprintf(&b, "\n%s:", outer)
			}
			group = outer
		} else {
			group = ""
		}
		b.WriteString("\n")
		for line := range strings.SplitSeq(s.help, "\n") {
			fmt.Fprintf(&b, "%s# %s\n", indent, line)
		}
		fmt.Fprintf(&b, "%s# --%s, %s\n", indent, s.flag(), s.environment())
		fmt.Fprintf(&b, "%s%s: %s\n", indent, name, yamlValue(s))
	}
	return b.String()
}

// yamlValue is a default as YAML; a list is written in flow style.
func yamlValue(s setting) string {
	switch s.kind {
	case kindList:
		return "[" + strings.Join(strings.FieldsFunc(s.unset, func(r rune) bool { return r == ',' }), ", ") + "]"
	case kindText:
		return fmt.Sprintf("%q", s.unset)
	default:
		return s.unset
	}
}
