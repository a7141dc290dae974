package recipe

import (
	"embed"
	"fmt"
	"regexp"
	"strings"
)

//go:embed starters/*.yaml
var starters embed.FS

// Plain is the starter of an image without a language.
const Plain = "plain"

// Starters lists what Starter knows.
func Starters() []string {
	out := []string{Plain}
	for _, l := range Languages() {
		out = append(out, string(l))
	}
	return out
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// Starter is a description to begin with, for an image called like its folder.
func Starter(kind, folder string) ([]byte, error) {
	text, err := starters.ReadFile("starters/" + kind + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("%q is not known: %s", kind, strings.Join(Starters(), ", "))
	}
	name := strings.Trim(notInName.ReplaceAllString(strings.ToLower(folder), "-"), "-")
	switch { // it is a service's and a user's name, too
	case name == "" || name == "app":
		name = "application"
	case name[0] >= '0' && name[0] <= '9':
		name = "app-" + name
	}
	return []byte(strings.ReplaceAll(string(text), "NAME", strings.Trim(name[:min(len(name), 30)], "-"))), nil
}
