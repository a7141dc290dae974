package spec

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// ServiceVariable begins the names of the variables and labels by which gliderlabs/Registrator is told what to register:
// SERVICE_NAME, SERVICE_80_TAGS, SERVICE_CHECK_HTTP and so on. Definitions of many years have them, so Berth knows them, too.
const ServiceVariable = "SERVICE_"

// ServiceSettings are what the SERVICE_ variables say of one port. The keys are in lower case, without the prefix and the
// port: "name", "tags", "check_http".
type ServiceSettings struct {
	Values map[string]string
	// Own are the keys that were said of this very port rather than of all ports.
	Own map[string]bool
}

// Get is the value of a key; an empty one counts as none, as in Registrator.
func (s ServiceSettings) Get(key string) string { return s.Values[key] }

// ReadServiceSettings reads what the sources say of a port. Of two sources the later one wins, and what names the port wins
// over what does not.
func ReadServiceSettings(port int, sources ...map[string]string) ServiceSettings {
	s := ServiceSettings{Values: map[string]string{}, Own: map[string]bool{}}
	for _, source := range sources {
		for _, name := range slices.Sorted(maps.Keys(source)) {
			key, of, ok := serviceKey(name)
			switch {
			case !ok || of >= 0 && of != port || of < 0 && s.Own[key]:
			default:
				s.Values[key] = source[name]
				s.Own[key] = of >= 0
			}
		}
	}
	return s
}

// serviceKey splits SERVICE_80_NAME into "name" and 80; without a port, it is -1.
func serviceKey(name string) (key string, port int, ok bool) {
	rest, ok := strings.CutPrefix(name, ServiceVariable)
	if !ok || rest == "" {
		return "", 0, false
	}
	key = strings.ToLower(rest)
	if first, more, found := strings.Cut(key, "_"); found && more != "" {
		if n, err := strconv.Atoi(first); err == nil && n >= 0 {
			return more, n, true
		}
	}
	return key, -1, true
}

// NamesService says whether the sources name a service (SERVICE_NAME, or SERVICE_80_NAME of any port): whoever does so wants
// to be registered.
func NamesService(sources ...map[string]string) bool {
	for _, source := range sources {
		for name, value := range source {
			if key, _, ok := serviceKey(name); ok && key == "name" && value != "" {
				return true
			}
		}
	}
	return false
}

// SplitTags splits at commas, except those with a backslash before them, which stay as plain commas. Empty tags are none.
func SplitTags(text string) []string {
	var out []string
	var tag strings.Builder
	end := func() {
		if tag.Len() > 0 {
			out = append(out, tag.String())
		}
		tag.Reset()
	}
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && text[i+1] == ',':
			i++
			tag.WriteByte(',')
		case text[i] == ',':
			end()
		default:
			tag.WriteByte(text[i])
		}
	}
	end()
	return out
}

// ServiceName is the name of an app's Consul service when nobody gives it another: its id with "-" for "/" and ".", as
// Consul's DNS knows no dots in the names of services.
func ServiceName(id AppID) string {
	return strings.NewReplacer("/", "-", ".", "-").Replace(strings.Trim(string(id), "/"))
}

// ServiceAttributes are the settings that are neither words of Registrator's nor a check's: they become meta of the service.
func (s ServiceSettings) ServiceAttributes() map[string]string {
	out := map[string]string{}
	for key, value := range s.Values {
		switch key {
		case "name", "tags", "id", "ignore", ServiceNetwork:
		default:
			if !strings.HasPrefix(key, CheckPrefix) {
				out[key] = value
			}
		}
	}
	return out
}

// CheckSettings are those of the check, such as check_http; nil when there are none.
func (s ServiceSettings) CheckSettings() map[string]string {
	var out map[string]string
	for key, value := range s.Values {
		if strings.HasPrefix(key, CheckPrefix) && value != "" {
			if out == nil {
				out = map[string]string{}
			}
			out[key] = value
		}
	}
	return out
}

// CheckPrefix begins the keys of a check's settings.
const CheckPrefix = "check_"

// ServiceNetwork is the key by which a container on several networks says whose address counts. It is Berth's own word among
// Registrator's.
const ServiceNetwork = "network"
