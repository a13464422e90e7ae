// The version switcher: Read the Docs tells which versions there are, and where this page is in each.
document.addEventListener("readthedocs-addons-data-ready", (event) => {
  const data = event.detail.data();
  const box = document.querySelector(".versions");
  const select = document.getElementById("version-select");
  if (!box || !select || !data.versions) return;
  for (const version of data.versions.active) {
    const option = new Option(version.slug, version.urls.documentation);
    option.selected = version.slug === data.versions.current.slug;
    select.add(option);
  }
  select.addEventListener("change", () => { window.location.href = select.value; });
  box.hidden = false;
});
