package template

// HostPrototype makes a host of each row of a discovery.
type HostPrototype struct {
	UUID             string          `yaml:"uuid"`
	Host             string          `yaml:"host"`
	Name             string          `yaml:"name"`
	GroupLinks       []GroupLink     `yaml:"group_links"`
	GroupPrototypes  []Named         `yaml:"group_prototypes,omitempty"`
	Templates        []Named         `yaml:"templates"`
	Tags             []Tag           `yaml:"tags,omitempty"`
	CustomInterfaces string          `yaml:"custom_interfaces,omitempty"`
	Interfaces       []HostInterface `yaml:"interfaces,omitempty"`
}

// GroupLink is a group that all hosts of a prototype are in.
type GroupLink struct {
	Group Named `yaml:"group"`
}

// HostInterface is where a host's own agent would be asked.
type HostInterface struct {
	IP string `yaml:"ip"`
}

// Field is a header of a request, or a part of its query.
type Field struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`
}
