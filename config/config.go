package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"github.com/dunlindb/dunlin/node"
)

// Config is what `dunlin serve` runs with.
type Config struct {
	Node node.Config
	Log  Log
}

// Log chooses what is logged, and how.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // text, json
}

// Default returns the settings of a node that is told nothing.
func Default() Config {
	return Config{Node: node.DefaultConfig(), Log: Log{Level: "info", Format: "text"}}
}

// Validate reports every bad setting, each with its key.
func (c Config) Validate() error {
	var errs []error
	if _, err := c.Log.level(); err != nil {
		errs = append(errs, err)
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		errs = append(errs, &node.FieldError{Field: "log.format", Reason: fmt.Sprintf("is %q: give text or json", c.Log.Format)})
	}
	return errors.Join(append(errs, c.Node.Validate())...)
}

func (l Log) level() (slog.Level, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.Level)); err != nil {
		return 0, &node.FieldError{Field: "log.level", Reason: fmt.Sprintf("is %q: give debug, info, warn or error", l.Level)}
	}
	return level, nil
}

// Logger makes the logger that the configuration asks for. The configuration
// must be valid.
func (l Log) Logger(out io.Writer) *slog.Logger {
	level, err := l.level()
	if err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, opts))
	}
	return slog.New(slog.NewTextHandler(out, opts))
}

// AddFlags adds a flag for every setting, and --config for the file.
func AddFlags(flags *pflag.FlagSet) {
	flags.String("config", "", "YAML file with settings; dunlin.example.yaml lists them all")
	for _, s := range settings() {
		usage := strings.ReplaceAll(s.help, "\n", " ")
		if s.kind == kindBool {
			flags.Bool(s.flag(), s.unset == "true", usage)
			continue
		}
		flags.String(s.flag(), s.unset, usage)
	}
}

// Load reads the file that --config names (if any), the environment (given as
// "KEY=value" lines) and the flags, and validates the result. Errors name the
// setting's key and where its value came from.
func Load(flags *pflag.FlagSet, environ []string) (Config, error) {
	v := viper.New()
	path, err := flags.GetString("config")
	if err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	if path != "" {
		if err := readFile(v, path); err != nil {
			return Config{}, err
		}
	}
	if err := unknownEnvironment(environ); err != nil {
		return Config{}, err
	}
	c := Default()
	for _, s := range settings() {
		text, source, err := lookup(v, flags, environ, path, s)
		if err != nil {
			return Config{}, err
		}
		if source == "" {
			continue
		}
		if err := s.assign(&c, text); err != nil {
			return Config{}, fmt.Errorf("config: %s (%s) %w", s.key, source, err)
		}
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("config: %w", err)
	}
	return c, nil
}

// readFile reads a YAML file and refuses keys that no setting has.
func readFile(v *viper.Viper, path string) error {
	v.SetConfigFile(path)
	v.SetConfigType("yaml")
	if err := v.ReadInConfig(); err != nil {
		return fmt.Errorf("config: read %s: %w", path, err)
	}
	known, groups := map[string]bool{}, map[string]bool{}
	for _, s := range settings() {
		known[s.key] = true
		if group, _, nested := strings.Cut(s.key, "."); nested {
			groups[group] = true
		}
	}
	var unknown []string
	for _, key := range v.AllKeys() {
		if !known[key] && !(v.Get(key) == nil && groups[key]) { // a group whose settings are all commented out
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		return fmt.Errorf("config: %s: unknown %s; dunlin.example.yaml lists all keys", path, strings.Join(unknown, ", "))
	}
	return nil
}

// unknownEnvironment refuses DUNLIN_ variables that no setting has: a
// misspelt one would otherwise be ignored in silence.
func unknownEnvironment(environ []string) error {
	known := map[string]bool{}
	for _, s := range settings() {
		known[s.environment()] = true
	}
	for _, line := range environ {
		name, _, _ := strings.Cut(line, "=")
		if strings.HasPrefix(name, "DUNLIN_") && !known[name] {
			return fmt.Errorf("config: environment variable %s names no setting; `dunlin serve --help` lists them", name)
		}
	}
	return nil
}

// lookup finds a setting's text and says where it came from; source is empty
// when nobody set it.
func lookup(v *viper.Viper, flags *pflag.FlagSet, environ []string, path string, s setting) (text, source string, err error) {
	if f := flags.Lookup(s.flag()); f != nil && f.Changed {
		return f.Value.String(), "flag --" + s.flag(), nil
	}
	for _, line := range environ {
		if name, value, _ := strings.Cut(line, "="); name == s.environment() {
			return value, "environment " + name, nil
		}
	}
	if !v.IsSet(s.key) {
		return "", "", nil
	}
	source = path
	switch value := v.Get(s.key).(type) {
	case []any:
		if s.kind != kindList {
			return "", "", fmt.Errorf("config: %s (%s) is a list: give one value", s.key, path)
		}
		var parts []string
		for _, p := range value {
			parts = append(parts, fmt.Sprint(p))
		}
		return strings.Join(parts, ","), source, nil
	case map[string]any:
		return "", "", fmt.Errorf("config: %s (%s) is a group of settings: give a value", s.key, path)
	case nil:
		return "", "", nil
	default:
		return fmt.Sprint(value), source, nil
	}
}
