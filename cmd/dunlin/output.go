package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dunlindb/dunlin/client"
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

// printFailure prints an error as a program reads it.
func printFailure(out io.Writer, err error, code int) {
	failure := struct {
		Error    string `json:"error"`
		ExitCode int    `json:"exit_code"`
		Status   int    `json:"status,omitempty"` // that the node answered with
		Field    string `json:"field,omitempty"`  // what of the request is wrong
	}{Error: err.Error(), ExitCode: code}
	var p *client.Problem
	if errors.As(err, &p) {
		failure.Status, failure.Field = p.Status, p.Field
	}
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(failure) // the types are ours; a reader that is gone reads nothing
}
