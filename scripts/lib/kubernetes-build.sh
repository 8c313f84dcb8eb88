# Builds kube-apiserver and kube-controller-manager of Debian's source package in a folder: FOLDER/bin has them then.
# Run by scripts/kubernetes.sh as `kubernetes-build.sh FOLDER`.
set -euo pipefail
set -x

cd -- "$1"
readonly pool='deb-src http://deb.debian.org/debian bookworm main'

# Sources are in no list of a machine that does not ask for them: these lists are of this build alone.
mkdir -p lists/partial root bin go/src/k8s.io
printf '%s\n' "$pool" > sources.list
lists=(-o Dir::Etc::sourcelist="$PWD/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$PWD/lists")
apt-get "${lists[@]}" update
apt-get "${lists[@]}" source --download-only kubernetes
apt-get download golang-1.19-go golang-1.19-src golang-github-modern-go-reflect2-dev
for package in *.deb; do dpkg-deb --extract "$package" root; done
dpkg-source --no-check --extract kubernetes_*.dsc go/src/k8s.io/kubernetes

# The vendored reflect2 reaches into Go's runtime where newer runtimes have something else: the server crashes with it.
reflect2=go/src/k8s.io/kubernetes/vendor/github.com/modern-go/reflect2
rm -rf -- "$reflect2"
cp -r -- root/usr/share/gocode/src/github.com/modern-go/reflect2 "$reflect2"

export PATH=$PWD/root/usr/lib/go-1.19/bin:$PATH HOME=$PWD GOPATH=$PWD/go GOROOT=$PWD/root/usr/lib/go-1.19 GOCACHE=$PWD/cache
export GO111MODULE=off GOFLAGS='' CGO_ENABLED=0
bin=$PWD/bin
cd -- go/src/k8s.io/kubernetes

# The package has all that is generated but the server's own OpenAPI definitions: from the types that ask to be in them.
go build -o ../openapi-gen ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
mapfile -t types < <(grep -rl --include='*.go' '^ *// +k8s:openapi-gen=' pkg/apis vendor/k8s.io/*/ \
    | grep -vE '^vendor/k8s.io/(code-generator|sample-apiserver)/|_test\.go$' | xargs -n1 dirname | sort -u)
inputs=$(printf 'k8s.io/kubernetes/%s,' "${types[@]}")
../openapi-gen --input-dirs "${inputs%,}" --output-package k8s.io/kubernetes/pkg/generated/openapi --output-base "$GOPATH/src" \
    --output-file-base zz_generated.openapi --go-header-file hack/boilerplate/boilerplate.generatego.txt \
    --report-filename ../violations

version=k8s.io/kubernetes/vendor/k8s.io/component-base/version
go build -o "$bin/" -ldflags "-s -w -X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20" \
    ./cmd/kube-apiserver ./cmd/kube-controller-manager
