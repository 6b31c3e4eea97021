package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/dunlindb/dunlin/client"
)

func newKVCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "kv", Short: "Put, get and delete values by bucket and key",
		Example: "  dunlin kv put settings colour blue\n  dunlin kv get settings colour",
	}
	cmd.AddCommand(newKVPut(), newKVGet(), newKVDelete())
	return cmd
}

func newKVPut() *cobra.Command {
	var nodes httpFlag
	var level, contentType string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:     "put BUCKET KEY [VALUE|-]",
		Short:   "Store a value, from the command line or from standard input",
		Example: "  dunlin kv put settings colour blue\n  dunlin kv put pages index - --content-type text/html < index.html\n  dunlin kv put cache token x --ttl 1h",
		Args:    cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := nodes.client()
			if err != nil {
				return &usageError{err}
			}
			v := client.Value{ContentType: contentType}
			if len(args) == 3 && args[2] != "-" {
				v.Data = []byte(args[2])
			} else if v.Data, err = io.ReadAll(cmd.InOrStdin()); err != nil {
				return fmt.Errorf("kv put: %w", err)
			}
			return wrap("kv put", c.Put(cmd.Context(), args[0], args[1], v, ttl, level))
		},
	}
	nodes.add(cmd)
	levelFlag(cmd, "w", &level)
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "delete the value after this time, such as 1h; 0 keeps it")
	cmd.Flags().StringVar(&contentType, "content-type", "", "the value's media type, given back with it")
	return cmd
}

func newKVGet() *cobra.Command {
	var nodes httpFlag
	var level string
	var output outputFlag
	cmd := &cobra.Command{
		Use:     "get BUCKET KEY",
		Short:   "Print a value as it was stored",
		Example: "  dunlin kv get settings colour\n  dunlin kv get pages index --r all > index.html",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := nodes.client()
			if err != nil {
				return &usageError{err}
			}
			v, err := c.Get(cmd.Context(), args[0], args[1], level)
			if err != nil {
				return fmt.Errorf("kv get: %w", err)
			}
			out := cmd.OutOrStdout()
			if output.json() {
				return printJSON(out, struct {
					Value       []byte `json:"value"` // base64
					ContentType string `json:"content_type"`
					Timestamp   int64  `json:"timestamp"`
				}{v.Data, v.ContentType, v.Timestamp})
			}
			if _, err := out.Write(v.Data); err != nil {
				return err
			}
			if n := len(v.Data); outIsTerminal() && n > 0 && v.Data[n-1] != '\n' {
				fmt.Fprintln(out)
			}
			return nil
		},
	}
	nodes.add(cmd)
	output.add(cmd, "raw", "json")
	levelFlag(cmd, "r", &level)
	return cmd
}

func newKVDelete() *cobra.Command {
	var nodes httpFlag
	var level string
	cmd := &cobra.Command{
		Use:     "delete BUCKET KEY",
		Short:   "Delete a value",
		Example: "  dunlin kv delete settings colour",
		Args:    cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := nodes.client()
			if err != nil {
				return &usageError{err}
			}
			return wrap("kv delete", c.Delete(cmd.Context(), args[0], args[1], level))
		},
	}
	nodes.add(cmd)
	levelFlag(cmd, "w", &level)
	return cmd
}

// wrap names the command in its error.
func wrap(op string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}
