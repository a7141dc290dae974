package launch

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/berth-project/berth/spec"
)

// Services are the Consul services of an instance: one a port, the first under the app's name, the others with the
// port's name added. The health check that probes the port comes along; a COMMAND check goes to the first port.
//
// Registrator's words in the app's environment or labels count as they would beside Marathon, labels before environment;
// Berth's own labels go before both. A check in Registrator's words stands in only where the app has no health check of the port.
func Services(app *spec.App, ports []Port, probes []spec.Probe) []spec.Service {
	var out []spec.Service
	said := []map[string]string{plainEnv(app), app.Labels}
	for i, p := range ports {
		settings := spec.ReadServiceSettings(p.Port, said...)
		if settings.Get("ignore") != "" {
			continue
		}
		s := spec.Service{Name: serviceName(app, ports, i, settings), Tags: serviceTags(app, settings), Port: p.Port, Meta: settings.ServiceAttributes()}
		if p.Name != "" {
			s.Meta["port-name"] = p.Name
		}
		maps.Copy(s.Meta, p.Labels)
		for j, c := range probes {
			if c.Port == p.Port && c.Protocol != "COMMAND" || c.Protocol == "COMMAND" && i == 0 && s.Check == nil {
				s.Check = &probes[j]
			}
		}
		if s.Check == nil {
			s.CheckSettings = settings.CheckSettings()
		}
		out = append(out, s)
	}
	return out
}

// serviceName is the name of the service on the i-th port. Registrator, where it is given a name for all ports of several,
// adds the port's number to each, and clients of such apps look for that.
func serviceName(app *spec.App, ports []Port, i int, settings spec.ServiceSettings) string {
	name := app.Labels[spec.AppLabelService]
	if given := settings.Get("name"); name == "" && given != "" {
		if len(ports) > 1 && !settings.Own["name"] {
			given += "-" + strconv.Itoa(ports[i].Port)
		}
		return given
	}
	if name == "" {
		name = spec.ServiceName(app.ID)
	}
	if i > 0 {
		suffix := ports[i].Name
		if suffix == "" {
			suffix = strconv.Itoa(ports[i].Port)
		}
		name += "-" + suffix
	}
	return name
}

// serviceTags are those of Berth's label and Registrator's.
func serviceTags(app *spec.App, settings spec.ServiceSettings) []string {
	var tags []string
	for _, t := range strings.Split(app.Labels[spec.AppLabelTags], ",") {
		if t = strings.TrimSpace(t); t != "" {
			tags = append(tags, t)
		}
	}
	for _, t := range spec.SplitTags(settings.Get("tags")) {
		if !slices.Contains(tags, t) {
			tags = append(tags, t)
		}
	}
	return tags
}

// plainEnv is the app's environment without what is secret.
func plainEnv(app *spec.App) map[string]string {
	out := map[string]string{}
	for name, v := range app.Env {
		if v.Secret == "" {
			out[name] = v.Value
		}
	}
	return out
}
