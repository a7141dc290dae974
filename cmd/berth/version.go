package main

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func newVersionCommand(c *cli) *cobra.Command {
	var client bool
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Show the version of this program and of the scheduler it talks to",
		Args:    cobra.NoArgs,
		Example: "  berth version\n  berth version --client",
		RunE: c.verb(func(_ context.Context, a *apiClient, _ []string) error {
			out := map[string]string{"client": buildVersion()}
			var failed error
			if !client {
				var info struct{ Version, Buildref string }
				_, failed = a.call("GET", "/v2/info", nil, &info)
				if failed == nil {
					out["server"], out["marathon"] = info.Buildref, info.Version
				}
			}
			if c.output == "json" {
				if err := c.printJSON(out); err != nil {
					return err
				}
				return doing(failed, "ask the scheduler")
			}
			fmt.Fprintf(c.out, "berth %s\n", out["client"])
			if out["server"] != "" {
				fmt.Fprintf(c.out, "scheduler: %s, as Marathon %s\n", out["server"], out["marathon"])
			}
			return doing(failed, "ask the scheduler")
		}),
	}
	cmd.Flags().BoolVar(&client, "client", false, "do not ask the scheduler")
	return cmd
}

// buildVersion is what Go wrote into the binary: the module's version, or the commit it was built from.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version, dirty := info.Main.Version, ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && (version == "" || version == "(devel)"):
			version = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if version == "" {
		version = "devel"
	}
	if strings.HasSuffix(version, "+dirty") {
		dirty = "" // Go says so itself
	}
	return version + dirty
}
