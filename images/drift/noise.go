package drift

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// noise says what a path is that differs on every running machine, or after every package; "": it is none. kept says that it
// belongs to the packages and services, so that an image of the instance needs it.
func noise(file string, mounts []string) (why string, kept bool) {
	if why := passing(file, mounts); why != "" {
		return why, false
	}
	for _, r := range residues {
		if at(file, r.at) {
			return r.what, false
		}
	}
	base := path.Base(file)
	switch {
	case strings.HasSuffix(base, ".pid") || strings.HasSuffix(base, ".sock"):
		return "of a running process", false
	case hostKey(file):
		return "SSH host key", false
	case slices.Contains([]string{"/etc/machine-id", "/var/lib/dbus/machine-id", "/var/lib/systemd/random-seed"}, file):
		return "of this one machine", false
	case strings.HasPrefix(base, ".") && strings.HasSuffix(base, "_history") || slices.Contains(personal, base):
		return "a user's history", false
	case strings.Contains(file, "/.cache/") || strings.HasSuffix(file, "/.cache") || strings.Contains(file, "/.ansible/"):
		return "a user's cache", false
	}
	for _, r := range generated {
		if at(file, r.at) {
			return r.what, true
		}
	}
	if strings.HasPrefix(file, "/etc/cron.d/berth-") { // berth-svc writes them of timers
		return "services' state", true
	}
	if strings.HasSuffix(base, ".pyc") || base == "__pycache__" {
		return "compiled from other files", true
	}
	if slices.Contains([]string{"/etc/passwd-", "/etc/group-", "/etc/shadow-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-", "/etc/.pwd.lock"}, file) {
		return "copy of an account file", false
	}
	return "", false
}

// passing says what a path is that ends with the container, folders included.
func passing(file string, mounts []string) string {
	for _, m := range mounts {
		if at(file, m) || strings.HasPrefix(m, file+"/") { // also the folders that the engine makes for it
			return "mounted"
		}
	}
	for _, r := range volatile {
		if at(file, r.at) {
			return r.what
		}
	}
	return ""
}

// place is a folder, with everything below it, or a file.
type place struct{ at, what string }

// volatile are what the next start of a container makes anew.
var volatile = []place{
	{"/run", "of running processes"}, {"/var/run", "of running processes"}, {"/tmp", "temporary"}, {"/var/tmp", "temporary"},
	{"/dev", "device"}, {"/proc", "kernel"}, {"/sys", "kernel"}, {"/etc/berth", "of the seat"}, {"/.dockerenv", "of the container"},
	{"/etc/hostname", "of the container"}, {"/etc/hosts", "of the container"}, {"/etc/resolv.conf", "of the container"}, {"/etc/mtab", "of the container"},
}

// residues are files that nobody misses in another instance. The folders are needed: daemons do not make theirs.
var residues = []place{
	{"/var/log", "log"}, {"/var/cache", "cache"}, {"/var/lib/apt/lists", "package list"}, {"/var/lib/apt/periodic", "package list"},
	{"/var/lib/dnf", "package list"}, {"/var/lib/yum/repos", "package list"}, {"/var/spool/cron/.locks", "lock"}, {"/var/lib/logrotate", "log rotation"},
	{"/var/mail", "mail"}, {"/var/spool/mail", "mail"},
}

// generated are what packages, or the verbs that enable services, keep up to date by themselves.
var generated = []place{
	{"/var/lib/dpkg", "package database"}, {"/var/lib/rpm", "package database"}, {"/usr/lib/sysimage/rpm", "package database"},
	{"/var/lib/apt", "package database"}, {"/var/lib/alternatives", "alternatives"}, {"/etc/alternatives", "alternatives"},
	{"/var/lib/systemd", "services' state"}, {"/var/lib/pam", "services' state"}, {"/var/lib/ucf", "package database"}, {"/etc/ld.so.cache", "cache of libraries"},
	{"/var/lib/python", "package database"}, {"/var/lib/sgml-base", "package database"}, {"/var/lib/xml-core", "package database"},
	{"/etc/ssl/certs", "certificates of the system"}, {"/etc/pki/ca-trust/extracted", "certificates of the system"}, {"/usr/share/mime", "cache of types"},
	{"/usr/share/icons", "cache of icons"}, {"/usr/share/applications/mimeinfo.cache", "cache of types"}, {"/usr/share/info/dir", "index of manuals"},
	{"/etc/init.d/.depend.boot", "services' state"}, {"/etc/init.d/.depend.start", "services' state"}, {"/etc/init.d/.depend.stop", "services' state"},
	{"/usr/share/berth", "recipe of the image"},
}

// personal are the names of files in which programs keep what a person did.
var personal = []string{".lesshst", ".viminfo", ".wget-hsts", ".node_repl_history", ".python_history"}

func at(file, place string) bool { return file == place || strings.HasPrefix(file, place+"/") }

func hostKey(file string) bool {
	return path.Dir(file) == "/etc/ssh" && strings.HasPrefix(path.Base(file), "ssh_host_") && strings.Contains(path.Base(file), "_key")
}

// credential are the paths of files that hold secrets whatever is in them.
var credential = regexp.MustCompile(`(^|/)(\.ssh/(id_[^/]*|identity)|\.docker/config\.json|\.dockercfg|\.netrc|\.git-credentials|\.aws/credentials|\.pgpass|` +
	`\.my\.cnf|\.npmrc|\.pypirc|\.kube/config|\.vault-token|\.config/gcloud/.*|\.gnupg/.*)$|^/etc/apt/auth\.conf(\.d/.*)?$|^/etc/krb5\.keytab$`)

// admits are files that are no secrets, but let their owners into every instance of the image: one person's key on one machine is not
// meant for that.
var admits = regexp.MustCompile(`(^|/)\.ssh/authorized_keys2?$|(^|/)\.(r|s)hosts$`)

// Secret says why a file must not be in an image, by its path and how it begins; "": it may. Public halves of keys may.
func Secret(file string, head []byte) string {
	switch {
	case admits.MatchString(file):
		return "says who may log in"
	case credential.MatchString(file) && !strings.HasSuffix(file, ".pub"):
		return "credentials"
	case privateKey.Match(head):
		return "a private key"
	}
	return ""
}

// privateKey is one by itself, in YAML, or in the JSON of a cloud's service account; not what a program knows of keys.
var privateKey = regexp.MustCompile(`(?m)^([ \t]*|.*"private_key"[ \t]*:[ \t]*")-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY( BLOCK)?-----|^PuTTY-User-Key-File-`)

// Leave says why a path stays out of an image that is made of the instance; "": it belongs into it. Folders for logs and
// caches belong into it, what is in them does not.
func Leave(file string, folder bool, mounts []string) string {
	if why := passing(file, mounts); why != "" {
		return why
	}
	if why, kept := noise(file, mounts); why != "" && !kept {
		if folder && slices.ContainsFunc(residues, func(r place) bool { return at(file, r.at) }) {
			return ""
		}
		return why
	}
	return ""
}
