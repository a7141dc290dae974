package marathon

import (
	"strings"
	"testing"
)

// TestTheRoleOfADefinition: what names no role has the one whose resources it accepts, if the server has it.
func TestTheRoleOfADefinition(t *testing.T) {
	for name, c := range map[string]struct {
		roles          []string
		body           string
		role, expected string // the app's, or a part of the refusal
	}{
		"none configured":       {nil, ``, "*", ""},
		"none accepted":         {nil, `,"acceptedResourceRoles":["slave_public"]`, "", "can only contain * and *"},
		"the only one":          {[]string{"slave_public"}, `,"acceptedResourceRoles":["slave_public"]`, "slave_public", ""},
		"beside what is free":   {[]string{"slave_public"}, `,"acceptedResourceRoles":["*","slave_public"]`, "slave_public", ""},
		"free only":             {[]string{"slave_public"}, `,"acceptedResourceRoles":["*"]`, "slave_public", ""},
		"the second":            {[]string{"*", "slave_public"}, `,"acceptedResourceRoles":["slave_public"]`, "slave_public", ""},
		"the first by default":  {[]string{"web", "batch"}, ``, "web", ""},
		"one that is said":      {[]string{"web", "batch"}, `,"role":"batch","acceptedResourceRoles":["batch"]`, "batch", ""},
		"another than accepted": {[]string{"web", "batch"}, `,"role":"web","acceptedResourceRoles":["batch"]`, "", "can only contain * and web"},
		"two":                   {[]string{"web", "batch"}, `,"acceptedResourceRoles":["web","batch"]`, "", "can only contain * and web"},
		"a strange one":         {[]string{"web"}, `,"role":"mail"`, "", "got mail, expected one of: [web, demo]"},
		"the group's":           {[]string{"web"}, `,"role":"demo"`, "demo", ""},
	} {
		t.Run(name, func(t *testing.T) {
			app, err := DecodeApp([]byte(`{"id":"/demo/a","cmd":"run"`+c.body+`}`), Options{Roles: c.roles})
			switch {
			case c.expected != "":
				if err == nil || !strings.Contains(err.Error(), c.expected) {
					t.Errorf("got %v", err)
				}
			case err != nil:
				t.Error(err)
			case app.Role != c.role:
				t.Errorf("got role %s", app.Role)
			}
		})
	}
}

// TestTheGroupsRoleWins: a group that enforces its role has the only one.
func TestTheGroupsRoleWins(t *testing.T) {
	o := Options{Roles: []string{"*", "web"}, Enforcing: map[string]bool{"demo": true}}
	_, err := DecodeApp([]byte(`{"id":"/demo/a","cmd":"run","acceptedResourceRoles":["web"]}`), o)
	if err == nil || !strings.Contains(err.Error(), "can only contain * and demo") {
		t.Errorf("got %v", err)
	}
}

// TestPullConfigsOfTheHosts: where the hosts have docker configurations, secrets are for pulling only.
func TestPullConfigsOfTheHosts(t *testing.T) {
	const private = `{"id":"/a","secrets":{"s":{"source":"registry"}},"container":{"type":"MESOS","docker":{"image":"i","pullConfig":{"secret":"s"}}}`
	hosts := Options{Features: map[string]bool{FeaturePullConfig: true}}
	for name, c := range map[string]struct {
		o    Options
		body string
		want string // a part of the refusal; "" for none
	}{
		"admitted":       {hosts, private + `}`, ""},
		"not configured": {Options{}, private + `}`, "Feature secrets is not enabled"},
		"undeclared":     {hosts, `{"id":"/a","container":{"type":"MESOS","docker":{"image":"i","pullConfig":{"secret":"s"}}}}`, "references an undefined secret"},
		"as in Marathon": {hosts, `{"id":"/a","secrets":{"s":{"source":"r"}},"container":{"type":"DOCKER","docker":{"image":"i","pullConfig":{"secret":"s"}}}}`, "must be empty"},
		"in a variable":  {hosts, private + `,"env":{"PASSWORD":{"secret":"s"}}}`, "Feature secrets is not enabled"},
		"with a store":   {Options{Features: map[string]bool{FeatureSecrets: true}}, private + `,"env":{"PASSWORD":{"secret":"s"}}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeApp([]byte(c.body), c.o)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
