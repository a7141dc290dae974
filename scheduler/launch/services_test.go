package launch

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berth-project/berth/spec"
)

// TestServicesInRegistratorsWords: apps of a team that came from Marathon and Registrator keep their service names.
func TestServicesInRegistratorsWords(t *testing.T) {
	probe := spec.Probe{Protocol: "HTTP", Path: "/", Port: 80}
	port := func(n int, name string) Port { return Port{HostPort: spec.HostPort{Name: name, Port: n}} }
	cases := []struct {
		name   string
		env    map[string]string
		labels map[string]string
		ports  []Port
		want   []spec.Service
	}{
		{
			name: "a name and tags from the environment", env: map[string]string{"SERVICE_NAME": "shop", "SERVICE_TAGS": `a,b\,c`, "SERVICE_REGION": "eu"},
			ports: []Port{port(80, "")},
			want:  []spec.Service{{Name: "shop", Tags: []string{"a", "b,c"}, Port: 80, Meta: map[string]string{"region": "eu"}, Check: &probe}},
		},
		{
			name: "labels before environment, Berth's label before both", env: map[string]string{"SERVICE_NAME": "shop", "SERVICE_TAGS": "a"},
			labels: map[string]string{"SERVICE_TAGS": "b", "BERTH_SERVICE": "mine", "BERTH_TAGS": "b, x"}, ports: []Port{port(80, ""), port(81, "admin")},
			want: []spec.Service{
				{Name: "mine", Tags: []string{"b", "x"}, Port: 80, Meta: map[string]string{}, Check: &probe},
				{Name: "mine-admin", Tags: []string{"b", "x"}, Port: 81, Meta: map[string]string{"port-name": "admin"}},
			},
		},
		{
			name: "several ports under one name", labels: map[string]string{"SERVICE_NAME": "shop", "SERVICE_81_NAME": "back", "SERVICE_82_IGNORE": "yes"},
			ports: []Port{port(80, ""), port(81, "admin"), port(82, "")},
			want: []spec.Service{
				{Name: "shop-80", Port: 80, Meta: map[string]string{}, Check: &probe},
				{Name: "back", Port: 81, Meta: map[string]string{"port-name": "admin"}},
			},
		},
		{
			name: "a check where the app has none", labels: map[string]string{"SERVICE_CHECK_HTTP": "/up", "SERVICE_CHECK_INTERVAL": "3s"},
			ports: []Port{port(80, ""), port(81, "")},
			want: []spec.Service{
				{Name: "prod-web", Port: 80, Meta: map[string]string{}, Check: &probe},
				{Name: "prod-web-81", Port: 81, Meta: map[string]string{}, CheckSettings: map[string]string{"check_http": "/up", "check_interval": "3s"}},
			},
		},
		{name: "ignored", env: map[string]string{"SERVICE_IGNORE": "1"}, ports: []Port{port(80, "")}},
	}
	for _, c := range cases {
		app := &spec.App{ID: "/prod/web", Labels: c.labels, Env: map[string]spec.EnvValue{"SERVICE_SECRET": {Secret: "x", Value: "y"}}}
		for k, v := range c.env {
			app.Env[k] = spec.EnvValue{Value: v}
		}
		if d := cmp.Diff(c.want, Services(app, c.ports, []spec.Probe{probe})); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}
