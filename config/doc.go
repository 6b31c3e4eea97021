// Package config turns a YAML file, DUNLIN_ environment variables and
// command-line flags into a validated node.Config, in that order of growing
// precedence: flags win over the environment, which wins over the file.
//
// Every setting is one row of the table in settings.go: its key, its default,
// what it means, and where its value goes. The flags, the environment names and
// dunlin.example.yaml all come from that table, and a test keeps the example
// equal to it. Unknown keys and bad values are refused with the key's name.
//
// The package is the only user of viper; it owns no goroutine.
package config
