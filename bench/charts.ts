import * as echarts from 'echarts';

const width = 760;
const height = 380;
// why these greys: the charts stand on light pages and on dark ones
const text = '#7d8590';
const line = '#7d859040';
const colors = ['#2f81f7', '#a5adb8', '#3fb950', '#d29922'];

/** A chart as SVG. */
function draw(option: echarts.EChartsCoreOption): string {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height });
  chart.setOption({
    animation: false,
    color: colors,
    textStyle: { fontFamily: 'system-ui, sans-serif', color: text },
    grid: { left: 80, right: 40, top: 80, bottom: 60 },
    ...option,
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  // hover styles are nothing for a picture
  return svg.replace(/<style[\s\S]*?<\/style>\n?/, '').replace(/ class="[^"]*"/g, '');
}

const title = (content: string) => ({
  text: content,
  left: 16,
  top: 12,
  textStyle: { color: text, fontSize: 16, fontWeight: 600 },
});
const legend = { top: 42, left: 16, itemGap: 28, textStyle: { color: text } };
const axis = {
  axisLabel: { color: text },
  axisLine: { lineStyle: { color: line } },
  splitLine: { lineStyle: { color: line } },
  nameTextStyle: { color: text },
};
const thousands = (value: number) => value.toLocaleString('en');

export interface LineChart {
  title: string;
  labels: readonly string[];
  xName: string;
  series: readonly { name: string; values: readonly number[] }[];
}

export function lineChart(chart: LineChart): string {
  return draw({
    title: title(chart.title),
    legend,
    xAxis: {
      type: 'category',
      data: [...chart.labels],
      name: chart.xName,
      nameLocation: 'middle',
      nameGap: 34,
      ...axis,
    },
    yAxis: { type: 'value', min: 0, ...axis, axisLabel: { color: text, formatter: thousands } },
    series: chart.series.map(({ name, values }) => ({
      type: 'line',
      name,
      data: [...values],
      symbolSize: 8,
      lineStyle: { width: 3 },
    })),
  });
}

export interface BarChart {
  title: string;
  bars: readonly { name: string; value: number }[];
}

/** Horizontal bars on a logarithmic axis, the first on top. */
export function barChart(chart: BarChart): string {
  const bars = chart.bars.toReversed();
  return draw({
    title: title(chart.title),
    grid: { left: 190, right: 80, top: 60, bottom: 40 },
    xAxis: { type: 'log', min: 100, ...axis, axisLabel: { color: text, formatter: thousands } },
    yAxis: { type: 'category', data: bars.map(({ name }) => name), ...axis },
    series: [
      {
        type: 'bar',
        barWidth: '55%',
        data: bars.map(({ name, value }) => ({
          value,
          itemStyle: { color: name.startsWith('Docket') ? colors[0] : colors[1], borderRadius: [0, 4, 4, 0] },
        })),
        label: {
          show: true,
          position: 'right',
          color: text,
          formatter: ({ value }: { value: number }) => thousands(value),
        },
      },
    ],
  });
}
