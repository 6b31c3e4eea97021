package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersionCommand() *cobra.Command {
	var output outputFlag
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary",
		Example: "  dunlin version -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			info := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
				System  string `json:"system"`
				Cgo     bool   `json:"cgo"`
			}{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH, builtWithCgo()}
			if output.json() {
				return printJSON(cmd.OutOrStdout(), info)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "dunlin %s (%s, %s, cgo %v)\n", info.Version, info.Go, info.System, info.Cgo)
			return err
		},
	}
	output.add(cmd, "table", "json")
	return cmd
}

// builtWithCgo tells whether Pebble's memory lives outside the Go heap.
func builtWithCgo() bool {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range build.Settings {
		if s.Key == "CGO_ENABLED" {
			return s.Value == "1"
		}
	}
	return false
}
