// Run by Gradio when a widget is on the page, as the body of a function (element, trigger, props, server, upload, watch).
const root = new URL(window.gradio_config?.root || ".", document.baseURI).pathname.replace(/[/]$/, "");
import(`${root}/${props.module}`)
  .then(({ mounts }) => mounts[props.folder](element, { props, trigger, upload, watch }))
  .catch((error) => {
    console.error(error);
    element.textContent = "This part of the page could not be loaded: reload the page.";
  });
