package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// outputFlag is -o: how a result is printed.
type outputFlag struct {
	value   string
	allowed []string
}

// add registers -o on a command; the first form is the default.
func (o *outputFlag) add(cmd *cobra.Command, forms ...string) {
	o.allowed, o.value = forms, forms[0]
	cmd.Flags().VarP(o, "output", "o", "output form: "+strings.Join(forms, ", "))
	// The only error is a flag that does not exist, and it was just added.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(forms, cobra.ShellCompDirectiveNoFileComp))
}

// String, Set and Type make outputFlag a pflag.Value.
func (o *outputFlag) String() string { return o.value }
func (o *outputFlag) Type() string   { return "form" }
func (o *outputFlag) Set(s string) error {
	if !slices.Contains(o.allowed, s) {
		return fmt.Errorf("give one of %s", strings.Join(o.allowed, ", "))
	}
	o.value = s
	return nil
}

func (o *outputFlag) json() bool { return o.value == "json" }

func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
